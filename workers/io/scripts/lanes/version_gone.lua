-- requires: values
-- ARGV: target, after how many ms without such a call it is forgotten.
-- Notes that the model server has no version of a target. Returns for how many ms workers have found that.
local key, now = 'sl:version-gone:' .. ARGV[1], now_ms()
redis.call('SET', key, fmt(now), 'NX')
redis.call('PEXPIRE', key, ARGV[2])
return now - tonumber(redis.call('GET', key))
