-- requires: values
-- ARGV: duty, lease, ms. Makes the lease of a duty last so many ms from now; answers it, or nothing where it was lost.
if redis.call('ZSCORE', 'sl:due', ARGV[1]) ~= ARGV[2] then return nil end
redis.call('ZADD', 'sl:due', fmt(now_ms() + tonumber(ARGV[3])), ARGV[1])
return redis.call('ZSCORE', 'sl:due', ARGV[1])
