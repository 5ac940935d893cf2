-- requires: keys, duties, endings
-- ARGV: duty, lease, job, retention in ms.
local duty, lease, id, retention = unpack(ARGV)
if redis.call('HGET', job_key(id), 'state') == 'finishing' then end_job(id, retention) end
end_duty(duty, lease)
