#!lua flags=allow-oom
-- requires: keys, states, duties, endings
-- ARGV: duty, lease, job, the reason as JSON.
-- Gives up the rest of a job whose list of images is lost, and ends it as failed. Images in flight get their results.
local duty, lease, id, why = unpack(ARGV)
if active(redis.call('HGET', job_key(id), 'state')) then
  redis.call('HSET', job_key(id), 'error', why)
  give_up_rest(id, 'failed', 'canceled')
end
end_duty(duty, lease)
