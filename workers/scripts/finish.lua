-- ARGV: duty, lease, job, retention in ms. The last step of a job whose every image is settled, and has its result
-- where it will stay.
local duty, lease, id, retention = unpack(ARGV)
local key = job_key(id)
local job = as_table(redis.call('HGETALL', key))
if job.state == 'finishing' then
  local state = 'partial'
  if tonumber(job.given_up or '0') > 0 then state = job.ending
  elseif job.succeeded == job.total then state = 'succeeded'
  elseif job.failed == job.total then state = 'failed' end
  local now = now_ms()
  redis.call('HSET', key, 'state', state, 'finished_at', fmt(now), 'expires_at', fmt(now + tonumber(retention)))
  add_due('retire:' .. id, now + tonumber(retention))
  redis.call('DEL', items_key(id))
  redis.call('PUBLISH', 'sl:finished', id)
end
end_duty(duty, lease)
