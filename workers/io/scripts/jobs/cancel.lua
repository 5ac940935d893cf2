#!lua flags=allow-oom
-- requires: values, keys, states, endings
-- ARGV: job, ending (canceled|expired).
-- Ends a job early. Images that nobody has claimed are given up at once. Images in flight are given up when their
-- worker next asks about them, or still get their result. A job that is being listed ends without images. Returns the
-- state, or nil if the job is gone.
local id, ending = unpack(ARGV)
local key = job_key(id)
local job = as_table(redis.call('HGETALL', key))
if active(job.state) then
  give_up_rest(id, ending, ending == 'expired' and 'failed' or 'canceled')
elseif job.state == 'enumerating' then
  end_unlisted(id, ending)
end
return redis.call('HGET', key, 'state')
