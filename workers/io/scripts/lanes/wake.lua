-- requires: lanes
-- ARGV: model, Celery queue, for how many ms a ring may be under way. Answers whether to ring now.
return rings(unpack(ARGV))
