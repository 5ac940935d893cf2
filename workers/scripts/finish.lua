-- ARGV: duty, lease, job, retention in ms. The last step of a job whose every image is settled, and has its result
-- where it will stay. A job with webhooks is kept until they were told: then its retention begins, see outbox.lua.
local duty, lease, id, retention = unpack(ARGV)
local key = job_key(id)
local job = as_table(redis.call('HGETALL', key))
if job.state == 'finishing' then
  local state = 'partial'
  if tonumber(job.given_up or '0') > 0 then state = job.ending
  elseif job.succeeded == job.total then state = 'succeeded'
  elseif job.failed == job.total then state = 'failed' end
  local now = now_ms()
  redis.call('HSET', key, 'state', state, 'finished_at', fmt(now))
  if tonumber(job.hooks_open or '0') > 0 then
    tell(id, 'job.finished')
  else
    retire_in(id, retention)
  end
  redis.call('DEL', items_key(id))
  redis.call('PUBLISH', 'sl:finished', id)
end
end_duty(duty, lease)
