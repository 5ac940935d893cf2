-- requires: outbox
-- ARGV: endpoint, owner, how many endpoints an owner may have, the time in seconds, then field, value, ...
-- Registers an endpoint. Returns 0 if the owner has too many: the count and the addition are one step.
local id, owner, most, now = unpack(ARGV)
if redis.call('ZCARD', 'sl:endpoints:' .. owner) >= tonumber(most) then return 0 end
redis.call('HSET', endpoint_key(id), unpack(ARGV, 5))
redis.call('ZADD', 'sl:endpoints:' .. owner, now, id)
redis.call('ZADD', 'sl:endpoints', now, id)
return 1
