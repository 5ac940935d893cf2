-- requires: values, outbox
-- ARGV: endpoint, maximum of deliveries at once per destination, then field, value, ... to set; without fields it is deleted.
-- Changes or deletes an endpoint. Returns whether it existed. What waits for an endpoint that is disabled or deleted is
-- made due, so that the next look gives it up.
local id, max_at_once = ARGV[1], ARGV[2]
local owner = redis.call('HGET', endpoint_key(id), 'owner')
if not owner then return 0 end
local state = nil
for i = 3, #ARGV, 2 do
  redis.call('HSET', endpoint_key(id), ARGV[i], ARGV[i + 1])
  if ARGV[i] == 'state' then state = ARGV[i + 1] end
end
if #ARGV == 2 then
  redis.call('ZREM', 'sl:endpoints:' .. owner, id)
  redis.call('ZREM', 'sl:endpoints', id)
  redis.call('DEL', endpoint_key(id), line_key(id), line_key(id) .. ':attempts')
elseif state == 'enabled' then
  redis.call('HDEL', endpoint_key(id), 'reason', 'disabled_at')
  redis.call('HDEL', line_key(id), 'failures', 'failing_since', 'paused_until', 'window')
elseif state == 'disabled' then
  redis.call('HSET', endpoint_key(id), 'disabled_at', fmt(now_ms()))
  redis.call('HDEL', line_key(id), 'paused_until')
end
if state == 'disabled' or #ARGV == 2 then
  redis.call('ZUNIONSTORE', todo_key(id), 1, todo_key(id), 'WEIGHTS', 0)
end
schedule(id, max_at_once)
return 1
