#!lua flags=allow-oom
-- requires: constants, values
-- ARGV: lease in ms.
-- Leases the duty that has been due longest. Returns its record and the score of the lease, or nil if none is due.
local now = now_ms()
local member = redis.call('ZRANGEBYSCORE', 'sl:due', '-inf', fmt(now), 'LIMIT', 0, 1)[1]
if not member then return nil end
local lease = fmt(now + tonumber(ARGV[1]))
redis.call('ZADD', 'sl:due', lease, member)
redis.call('SET', 'sl:attended-duties', '1', 'EX', ATTENDED_SECONDS)
return { member, redis.call('ZSCORE', 'sl:due', member) }
