-- ARGV: key, token.
-- Releases the reservation of an idempotency key, if it is still the caller's.
if redis.call('HGET', ARGV[1], 'token') == ARGV[2] then redis.call('DEL', ARGV[1]) end
