-- ARGV: process, the number of this addition, then field, how much is added to it, ... A process adds in turn; what it
-- sends again since it got no answer counts once.
local last = 'sl:metrics:' .. ARGV[1]
if redis.call('GET', last) == ARGV[2] then return 0 end
for i = 3, #ARGV, 2 do redis.call('HINCRBYFLOAT', 'sl:metrics', ARGV[i], ARGV[i + 1]) end
redis.call('SET', last, ARGV[2], 'EX', 3600)
return 1
