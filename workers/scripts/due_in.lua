-- ARGV: duty, milliseconds. Has a duty done that much later, by the server's own clock.
redis.call('ZADD', 'sl:due', fmt(now_ms() + tonumber(ARGV[2])), ARGV[1])
