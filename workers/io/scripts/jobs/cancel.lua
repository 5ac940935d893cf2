-- requires: values, keys, states, endings
-- ARGV: job, ending (canceled|expired). Images that nobody has claimed are given up at once, the others as soon as their
-- worker asks about them; what is being processed may still come to its result. A job that is being listed ends without
-- images. Answers the state, or nothing.
local id, ending = unpack(ARGV)
local key = job_key(id)
local job = as_table(redis.call('HGETALL', key))
if active(job.state) then
  give_up_rest(id, ending, ending == 'expired' and 'failed' or 'canceled')
elseif job.state == 'enumerating' then
  end_unlisted(id, ending)
end
return redis.call('HGET', key, 'state')
