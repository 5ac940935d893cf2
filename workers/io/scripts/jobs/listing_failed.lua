-- requires: keys, duties, endings
-- ARGV: duty, lease, job, the reason as JSON.
-- Ends a job whose images cannot be listed as failed.
local duty, lease, id, why = unpack(ARGV)
if redis.call('HGET', job_key(id), 'state') == 'enumerating' then
  redis.call('HSET', job_key(id), 'error', why)
  end_unlisted(id, 'failed')
end
end_duty(duty, lease)
