-- requires: duties
-- ARGV: duty, lease, path. From here on no job can be made of what was stored there, so it may go.
if redis.call('ZSCORE', 'sl:due', ARGV[1]) == ARGV[2] then
  redis.call('ZREM', 'sl:due', ARGV[1])
  need_again('purge:' .. ARGV[3])
end
