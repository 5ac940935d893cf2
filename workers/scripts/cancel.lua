-- ARGV: job, ending (canceled|expired). Images that nobody has claimed are given up at once, the others as soon as their
-- worker asks about them; what is being processed may still come to its result. Answers the state, or nothing.
local id, ending = unpack(ARGV)
local key = job_key(id)
local job = as_table(redis.call('HGETALL', key))
if active(job.state) then
  local as = ending == 'expired' and 'failed' or 'canceled'
  redis.call('HSET', key, 'state', 'canceling', 'ending', ending, 'given_up_as', as, 'queued', 0)
  redis.call('HINCRBY', key, as, job.queued)
  redis.call('HINCRBY', key, 'given_up', job.queued)
  count_given_up(job.model, as, job.queued)
  account(id, -tonumber(job.queued))
  finish_if_done(id)
  changed(id)
end
return redis.call('HGET', key, 'state')
