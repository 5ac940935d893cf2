-- requires: keys, states, duties, lanes, account
-- ARGV: what was listed, as JSON, then the first window of images: name, ref, custom_id, ...
-- Adds the listed images to a job. This happens once, even if several workers listed them: each has a manifest of its
-- own. Returns 'ok'; 'over' if the job is gone or no longer waits for its images; or 'full' as create.lua does, and
-- then the duty is tried again.
local new = cjson.decode(ARGV[1])
local id, key = new.id, job_key(new.id)
local job = redis.call('HMGET', key, 'state', 'model', 'created_at')
if job[1] ~= 'enumerating' then
  if not job[1] then need_again('purge:jobs/' .. id) end -- the job was deleted: delete also the manifest
  end_duty(new.duty, new.lease)
  return { 'over' }
end
local full = refusal(new.quotas)
if full then return full end
redis.call('HSET', key, 'state', 'queued', 'lane', new.lane, 'total', new.total, 'queued', new.total,
  'manifest', new.manifest)
if new.notes then redis.call('HSET', key, unpack(new.notes)) end
account(id, tonumber(new.total))
redis.call('ZADD', active_key(job[2], new.lane), job[3], id)
feed(id, job[2], new.lane, 0, new.offset, 2)
changed(id)
end_duty(new.duty, new.lease)
return { 'ok' }
