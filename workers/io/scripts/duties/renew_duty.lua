#!lua flags=allow-oom
-- requires: values
-- ARGV: duty, lease, ms.
-- Extends the lease of a duty to so many ms from now. Returns its new score, or nil if the lease was lost.
if redis.call('ZSCORE', 'sl:due', ARGV[1]) ~= ARGV[2] then return nil end
redis.call('ZADD', 'sl:due', fmt(now_ms() + tonumber(ARGV[3])), ARGV[1])
return redis.call('ZSCORE', 'sl:due', ARGV[1])
