-- ARGV: model, lane. Whether an image waits there that nobody has claimed. Writes nothing, so it costs no sync.
local stream = stream_key(ARGV[1], ARGV[2])
if redis.call('EXISTS', stream) == 0 then return 0 end
local group = as_table(redis.call('XINFO', 'GROUPS', stream)[1])
return #redis.call('XRANGE', stream, '(' .. group['last-delivered-id'], '+', 'COUNT', 1)
