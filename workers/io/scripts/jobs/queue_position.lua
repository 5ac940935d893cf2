-- requires: account
-- ARGV: job, what it queues for, its lane. Answers what its estimate is made of.
return standing(unpack(ARGV))
