#!lua flags=allow-oom
-- requires: keys, duties, endings
-- ARGV: duty, lease, job, retention in ms.
-- Ends a job that is finishing, and its duty.
local duty, lease, id, retention = unpack(ARGV)
if redis.call('HGET', job_key(id), 'state') == 'finishing' then end_job(id, retention) end
end_duty(duty, lease)
