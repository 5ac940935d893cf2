-- requires: account
-- ARGV: job, target, lane.
-- Returns the numbers that the job's estimate is made of, see `standing`.
return standing(unpack(ARGV))
