-- requires: lanes
-- ARGV: target, Celery queue, for how many ms a wake-up may be on its way.
-- Returns whether to send a wake-up now, see `rings`.
return rings(unpack(ARGV))
