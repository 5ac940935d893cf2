-- requires: values, keys, duties, webhooks, lanes, account
-- ARGV: the job as JSON, then the first window of images: name, ref, custom_id, name, ref, custom_id, ...
-- Creates a job, once. A job whose `source` is not '' has no images yet: a duty lists them, see images_listed.lua.
-- Returns 'ok', the job's id (that of the earlier job if this is a repeated retry), its hash, whether to send a
-- wake-up, and its queue position; or why no job was created: 'upload_gone', 'parent_gone', 'not_reserved', or 'full'
-- as `refusal` returns it.
local new = cjson.decode(ARGV[1])
local id, key = new.id, job_key(new.id)
local function made(job)
  local wake_up = new.source == '' and wake_up_wanted(new.model, new.queue, new.wake_up_ms) or 0
  return { 'ok', job, redis.call('HGETALL', job_key(job)), wake_up, queue_position(job, new.model, new.lane) }
end
if redis.call('EXISTS', key) == 1 then return made(id) end
if new.retry_of ~= '' then
  local parent = redis.call('HMGET', job_key(new.retry_of), 'state', 'retried_as')
  if not parent[1] then return { 'parent_gone' } end
  if parent[2] then return made(parent[2]) end
end
local reservation = redis.call('HMGET', new.reservation, 'job', 'token')
if new.reservation ~= '' and reservation[2] ~= new.token then return { 'not_reserved' } end
local full = refusal(new.quotas)
if full then return full end
local drafts, gone = { 'jobs/' .. id }, false
if new.upload ~= '' then drafts[2] = 'uploads/' .. new.upload end
for _, path in ipairs(drafts) do
  if redis.call('ZREM', 'sl:due', 'draft:' .. path) == 0 then gone = true end
end
if gone then -- the draft was given up: delete also what was stored for it since then
  for _, path in ipairs(drafts) do need_again('purge:' .. path) end
  return { 'upload_gone' }
end
local now, listed = now_ms(), new.source == ''
redis.call('HSET', key, 'options', new.options, 'model', new.model, 'lane', new.lane,
  'state', listed and 'queued' or 'enumerating',
  'total', new.total, 'queued', new.total, 'running', 0, 'succeeded', 0, 'failed', 0, 'canceled', 0,
  'waiting', 0, 'fed', 0, 'fed_offset', 0, 'upload', new.upload, 'bytes', new.bytes, 'owner', new.owner,
  'retry_of', new.retry_of, 'metadata', new.metadata, 'created_at', fmt(now), 'deadline_at', fmt(now + tonumber(new.deadline_ms)))
if new.guess ~= '1' then redis.call('HSET', key, 'guess', new.guess) end
if new.request_id ~= '' then redis.call('HSET', key, 'request_id', new.request_id, 'trace', new.trace) end
if new.rules then redis.call('HSET', key, unpack(new.rules)) end
account(id, new.total)
count_open('bytes', new.bytes)
if new.owner ~= '' then count_open('bytes:' .. new.owner, new.bytes) end
redis.call('ZADD', 'sl:jobs', fmt(now), id)
redis.call('ZADD', owner_key(new.owner), fmt(now), id)
add_due('expire:' .. id, now + tonumber(new.deadline_ms))
if new.retry_of ~= '' then redis.call('HSET', job_key(new.retry_of), 'retried_as', id) end
if new.reservation ~= '' then
  redis.call('HSET', new.reservation, 'job', id, 'fingerprint', new.fingerprint)
  redis.call('HDEL', new.reservation, 'token')
  redis.call('PEXPIRE', new.reservation, new.replay_ms)
end
-- Hooks: the job's own webhook, and every endpoint of its owner that is enabled now.
local hooks = 0
local function hook(line, endpoint, events, format, url, secret)
  redis.call('HSET', hook_key(id, hooks), 'line', line, 'endpoint', endpoint, 'events', events, 'format', format,
    'url', url, 'secret', secret)
  hooks = hooks + 1
end
local own = new.webhook
if own ~= '' then hook(own.line, '', own.events, own.format, own.url, own.secret) end
for _, endpoint in ipairs(redis.call('ZRANGE', 'sl:endpoints:' .. new.owner, 0, -1)) do
  local state, events, format = unpack(redis.call('HMGET', 'sl:endpoint:' .. endpoint, 'state', 'events', 'format'))
  if state == 'enabled' then hook(endpoint, endpoint, events, format, '', '') end
end
if hooks > 0 then redis.call('HSET', key, 'hooks', hooks, 'hooks_open', hooks, 'base_url', new.base_url) end
if listed then
  redis.call('ZADD', active_key(new.model, new.lane), fmt(now), id)
  feed(id, new.model, new.lane, 0, new.offset, 2)
else
  redis.call('HSET', key, 'source', new.source)
  add_due('enumerate:' .. id, urgent())
end
return made(id)
