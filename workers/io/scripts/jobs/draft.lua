-- requires: values, account
-- ARGV: quotas as JSON, see `refusal` in lib/account.lua; a time in ms; paths in the blob store.
-- Notes that something will be stored at the paths. It is deleted after that time, unless a job was created of it.
-- Returns 'ok', or 'full' as create.lua does.
local full = refusal(cjson.decode(ARGV[1]))
if full then return full end
local at = fmt(now_ms() + tonumber(ARGV[2]))
for i = 3, #ARGV do redis.call('ZADD', 'sl:due', at, 'draft:' .. ARGV[i]) end
return { 'ok' }
