-- ARGV: key, token, lease in ms.
-- Reserves an idempotency key, or extends the caller's reservation. Returns 'reserved'; 'in_flight' if another request
-- has reserved it; or 'done' with the job that was created and the fingerprint of its request.
local key, token, lease = unpack(ARGV)
local job, fingerprint, holder = unpack(redis.call('HMGET', key, 'job', 'fingerprint', 'token'))
if job then return { 'done', job, fingerprint } end
if holder and holder ~= token then return { 'in_flight' } end
redis.call('HSET', key, 'token', token)
redis.call('PEXPIRE', key, lease)
return { 'reserved' }
