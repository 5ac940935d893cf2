#!lua flags=allow-oom
-- ARGV: task, Celery queue, how many messages may wait in it, for how many ms the task is not sent again.
-- Returns whether to send a wake-up for an upkeep task now: at most one in that time, and none if messages pile up. It
-- runs when Redis is full, too: upkeep deletes what is over, and it adds one key per task.
if redis.call('LLEN', ARGV[2]) >= tonumber(ARGV[3]) then return 0 end
return redis.call('SET', 'sl:upkeep:' .. ARGV[1], '1', 'NX', 'PX', ARGV[4]) and 1 or 0
