-- requires: lanes
-- ARGV: target, Celery queue, for how many ms a wake-up may be on its way.
-- Returns whether to send a wake-up now, see `wake_up_wanted` in lib/lanes.lua.
return wake_up_wanted(unpack(ARGV))
