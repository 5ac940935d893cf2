-- requires: values, keys, webhooks, outbox
-- ARGV: job, number of the hook, event, maximum of deliveries at once per destination.
-- Makes a delivery due again, at once, with a new schedule of attempts. Returns the destination, and 'ok' or why not:
-- 'unknown', 'disabled'.
local id, n, event, max_at_once = unpack(ARGV)
local hook = as_table(redis.call('HGETALL', hook_key(id, n)))
if not hook.line then return { '', 'unknown' } end
local line, member, kind, number = hook.line, id .. ' ' .. n .. ' ' .. event, string.match(event, '^(%a+)-?(%d*)$')
local happened = (kind == 'started' or kind == 'finished') and number == '' and hook[kind] ~= nil
  or kind == 'item' and number ~= '' and tonumber(number) < tonumber(hook.items or '0')
  or kind == 'progress' and number ~= '' and tonumber(number) <= tonumber(hook.progress or '0') and tonumber(number) > 0
if not happened then return { line, 'unknown' } end
if registered(line) and redis.call('HGET', endpoint_key(line), 'state') ~= 'enabled' then return { line, 'disabled' } end
if not redis.call('ZSCORE', leased_key(line), member) then
  if not redis.call('ZSCORE', todo_key(line), member) then
    redis.call('HINCRBY', hook_key(id, n), 'out', 1)
    if hook.ended then -- keep the job until this delivery has ended too
      redis.call('HDEL', hook_key(id, n), 'ended', 'dropped')
      redis.call('HSET', hook_key(id, n), 'told', '1')
      redis.call('HINCRBY', job_key(id), 'hooks_open', 1)
      redis.call('HDEL', job_key(id), 'expires_at')
      redis.call('ZREM', 'sl:due', 'retire:' .. id)
    end
  end
  redis.call('HDEL', hook_key(id, n), 'attempts:' .. event)
  redis.call('ZADD', todo_key(line), fmt(now_ms()), member)
  redis.call('HDEL', line_key(line), 'paused_until')
  schedule(line, max_at_once)
end
return { line, 'ok' }
