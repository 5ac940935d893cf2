#!lua flags=allow-oom
-- KEYS: Celery queue. ARGV: message, for how many ms.
-- Sends a wake-up. It expires by Redis' clock: the clocks of the hosts differ. It is sent when Redis is full, too: so
-- few wait at once that they need no memory worth naming, and upkeep frees some.
redis.call('LPUSH', KEYS[1], ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
