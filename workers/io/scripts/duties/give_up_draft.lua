#!lua flags=allow-oom
-- requires: duties
-- ARGV: duty, lease, path.
-- Gives up a draft: from now on no job can be created of what is stored at the path, and its deletion is due.
if redis.call('ZSCORE', 'sl:due', ARGV[1]) == ARGV[2] then
  redis.call('ZREM', 'sl:due', ARGV[1])
  need_again('purge:' .. ARGV[3])
end
