-- requires: account
-- ARGV: job, target, lane.
-- Returns the numbers that the job's estimate is made of, see `queue_position` in lib/account.lua.
return queue_position(unpack(ARGV))
