-- ARGV: key, token, lease in ms.
-- Reserves an idempotency key, or extends the caller's reservation. Returns 'reserved'; 'in_flight' if another request
-- has reserved it; or 'done' with the job that was created and the fingerprint of its request.
local key, token, lease = unpack(ARGV)
local found = redis.call('HMGET', key, 'job', 'fingerprint', 'token')
if found[1] then return { 'done', found[1], found[2] } end
if found[3] and found[3] ~= token then return { 'in_flight' } end
redis.call('HSET', key, 'token', token)
redis.call('PEXPIRE', key, lease)
return { 'reserved' }
