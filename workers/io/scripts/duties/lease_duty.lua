-- requires: values
-- ARGV: lease in ms. Leases the duty that is due the longest; answers its record and the lease's score, or nothing.
local now = now_ms()
local member = redis.call('ZRANGEBYSCORE', 'sl:due', '-inf', fmt(now), 'LIMIT', 0, 1)[1]
if not member then return nil end
local lease = fmt(now + tonumber(ARGV[1]))
redis.call('ZADD', 'sl:due', lease, member)
return { member, redis.call('ZSCORE', 'sl:due', member) }
