-- requires: keys, states
-- ARGV: job, why its output could not be written, as JSON, or '' if it was written, the time in ms.
-- Records an attempt to write the output. Returns, in ms, when it first could not be written; nil if the job is gone or
-- over.
local id, why, now = unpack(ARGV)
local key = job_key(id)
if redis.call('HGET', key, 'state') ~= 'finishing' then return nil end
if why == '' then
  redis.call('HDEL', key, 'output_error', 'output_failed_at')
  return now
end
redis.call('HSET', key, 'output_error', why)
redis.call('HSETNX', key, 'output_failed_at', now)
changed(id)
return redis.call('HGET', key, 'output_failed_at')
