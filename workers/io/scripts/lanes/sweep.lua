#!lua flags=allow-oom
-- requires: constants, values, keys, states, lanes, endings
-- ARGV: lease in ms.
-- Returns the targets with images that no living worker has in flight, and whether a duty is overdue.
-- It also removes entries of jobs that are over: no worker would claim them or take them over if their model never
-- comes back. Abandoned entries are removed at once, since their jobs cannot end before that; unclaimed ones once a
-- minute. Once a minute it also removes single versions of models that no image waits for, and the consumers of
-- processes that ended. A consumer with pending entries stays: without it these entries could never be claimed again.
local lease = tonumber(ARGV[1])
local tidy = redis.call('SET', 'sl:tidied', '1', 'NX', 'PX', 60000)

local function forget_consumers(stream)
  for _, consumer in ipairs(redis.call('XINFO', 'CONSUMERS', stream, GROUP)) do
    consumer = as_table(consumer)
    if consumer.pending == 0 and consumer.idle > 10 * lease then
      redis.call('XGROUP', 'DELCONSUMER', stream, GROUP, consumer.name)
    end
  end
end

local function is_over(row) return not active(redis.call('HGET', job_key(as_table(row[2]).job), 'state')) end

-- Returns whether a lane has an unclaimed image or an abandoned one.
local function has_work(stream)
  local after = '(' .. as_table(redis.call('XINFO', 'GROUPS', stream)[1])['last-delivered-id']
  for _, row in ipairs(tidy and redis.call('XRANGE', stream, after, '+', 'COUNT', 1000) or {}) do
    local key = job_key(as_table(row[2]).job)
    if is_over(row) then -- the image was counted as given up when its job ended
      if redis.call('EXISTS', key) == 1 then redis.call('HINCRBY', key, 'waiting', -1) end
      drop_entry(stream, row[1])
    end
  end
  local work = unclaimed(stream) ~= nil
  local late = abandoned(stream, lease, 64)
  if #late > 0 and just_back(lease) then return true end
  for _, pending in ipairs(late) do
    local row = redis.call('XRANGE', stream, pending[1], pending[1])[1]
    if row and is_over(row) then
      local entry = as_table(row[2])
      if counts(entry) then give_up(entry) end
      drop_entry(stream, row[1])
    else
      work = true
    end
  end
  return work
end

local models = {}
for _, model in ipairs(redis.call('SMEMBERS', 'sl:models')) do
  local entries, work = 0, false
  for _, lane in ipairs({ 'interactive', 'bulk' }) do
    local stream = stream_key(model, lane)
    if redis.call('EXISTS', stream) == 1 then
      if tidy then forget_consumers(stream) end
      work = has_work(stream) or work
      entries = entries + redis.call('XLEN', stream)
    end
  end
  if work then models[#models + 1] = model end
  if tidy and entries == 0 and string.find(model, '@', 1, true) then
    redis.call('SREM', 'sl:models', model)
    redis.call('UNLINK', stream_key(model, 'interactive'), stream_key(model, 'bulk'))
  end
end
local overdue = redis.call('ZRANGEBYSCORE', 'sl:due', '-inf', fmt(now_ms()), 'LIMIT', 0, 1)
return { models, #overdue }
