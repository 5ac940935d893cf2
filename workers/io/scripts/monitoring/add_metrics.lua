-- ARGV: process, number of this addition, then field, amount, field, amount, ...
-- Adds the counts of a process to the totals. The number makes an addition that is sent again count once: a process
-- sends the next one only after an answer to the last.
local last = 'sl:metrics:' .. ARGV[1]
if redis.call('GET', last) == ARGV[2] then return end
for i = 3, #ARGV, 2 do redis.call('HINCRBYFLOAT', 'sl:metrics', ARGV[i], ARGV[i + 1]) end
redis.call('SET', last, ARGV[2], 'EX', 3600)
