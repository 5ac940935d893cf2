-- requires: values, account
-- ARGV: limits as JSON, see refusal; after how many ms what is stored at the paths is given up, unless a job was made of
-- it; the paths. Answers 'ok', or 'full' as create does.
local full = refusal(cjson.decode(ARGV[1]))
if full then return full end
local at = fmt(now_ms() + tonumber(ARGV[2]))
for i = 3, #ARGV do redis.call('ZADD', 'sl:due', at, 'draft:' .. ARGV[i]) end
return { 'ok' }
