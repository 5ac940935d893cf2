-- ARGV: key, token, lease in ms. Reserves an idempotency key, or extends the reservation.
-- Answers 'reserved', 'in_flight' (another's), or 'done' with the job and the fingerprint that it was made of.
local key, token, lease = unpack(ARGV)
local found = redis.call('HMGET', key, 'job', 'fingerprint', 'token')
if found[1] then return { 'done', found[1], found[2] } end
if found[3] and found[3] ~= token then return { 'in_flight' } end
redis.call('HSET', key, 'token', token)
redis.call('PEXPIRE', key, lease)
return { 'reserved' }
