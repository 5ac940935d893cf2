-- ARGV: duty, lease, job. The last step of a job whose every image is settled.
local duty, lease, id = unpack(ARGV)
local key = job_key(id)
local job = as_table(redis.call('HGETALL', key))
if job.state == 'finishing' then
  local state = 'partial'
  if job.succeeded == job.total then state = 'succeeded' elseif job.failed == job.total then state = 'failed' end
  redis.call('HSET', key, 'state', state, 'finished_at', fmt(now_ms()))
  redis.call('DEL', items_key(id))
  redis.call('PUBLISH', 'sl:finished', id)
end
end_duty(duty, lease)
