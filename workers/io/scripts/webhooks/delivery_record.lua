-- requires: values, keys, webhooks, outbox
-- ARGV: destination, member of its queue, score of the lease, verdict (delivered|failed|gone), latency class of the
-- answer (quick|fair|slow), ms until the next attempt or '' if this was the last, ms of cool-down that the endpoint
-- asked for, the attempt as JSON, the reason to show if the endpoint is disabled, maximum of deliveries at once
-- per destination, ms of failures after which an endpoint is disabled, retention in ms.
-- Records an attempt and what follows from it. Does nothing if another sender has the lease.
local line, member, token, verdict, latency, delay, cool_down, attempt, reason, max_at_once, patience, retention = unpack(ARGV)
local FAILURES, PAUSE_MS, LONGEST_PAUSE_MS = 3, 5000, 300000 -- failures until a cool-down; it doubles
local ATTEMPTS, LINE_ATTEMPTS = 200, 20 -- attempts kept for a job, and for an endpoint
local LINE_KEPT_MS = 7 * 86400000
local key, now = line_key(line), now_ms()
if redis.call('ZSCORE', leased_key(line), member) ~= token then return end
redis.call('ZREM', leased_key(line), member)

local id, n, event = parse_member(member)
local hook = hook_key(id, n)
local has_hook = redis.call('EXISTS', hook) == 1
local owner = redis.call('HGET', job_key(id), 'owner') or redis.call('HGET', endpoint_key(line), 'owner') or ''
redis.call('ZREM', slow_key(owner), line .. ' ' .. member)
if has_hook then
  redis.call('LPUSH', 'sl:job:' .. id .. ':attempts', attempt)
  redis.call('LTRIM', 'sl:job:' .. id .. ':attempts', 0, ATTEMPTS - 1)
end
if registered(line) and redis.call('EXISTS', endpoint_key(line)) == 1 then
  redis.call('LPUSH', key .. ':attempts', attempt)
  redis.call('LTRIM', key .. ':attempts', 0, LINE_ATTEMPTS - 1)
end

local disabled = false
if verdict == 'delivered' then
  redis.call('HDEL', key, 'failures', 'failing_since', 'paused_until')
  local width = window(line, max_at_once)
  if latency == 'quick' then width = math.min(width + 1, tonumber(max_at_once)) elseif latency == 'slow' then width = 1 end
  redis.call('HSET', key, 'window', width, 'delivered_at', fmt(now))
else
  local failures = redis.call('HINCRBY', key, 'failures', 1)
  redis.call('HSETNX', key, 'failing_since', fmt(now))
  local pause = tonumber(cool_down)
  if failures >= FAILURES then
    pause = math.max(pause, math.min(PAUSE_MS * 2 ^ math.min(failures - FAILURES, 20), LONGEST_PAUSE_MS))
  end
  redis.call('HSET', key, 'window', 1, 'paused_until', fmt(now + pause))
  disabled = verdict == 'gone' or now - tonumber(redis.call('HGET', key, 'failing_since')) > tonumber(patience)
end
if not registered(line) or redis.call('EXISTS', endpoint_key(line)) == 0 then
  redis.call('PEXPIRE', key, LINE_KEPT_MS)
end

if has_hook then
  local wanted = redis.call('HEXISTS', hook, 'dropped') == 0
    and (not registered(line) or redis.call('HGET', endpoint_key(line), 'state') == 'enabled')
  if verdict == 'failed' and delay ~= '' and wanted and not disabled then
    redis.call('HINCRBY', hook, 'attempts:' .. event, 1)
    redis.call('ZADD', todo_key(line), fmt(now + tonumber(delay)), member)
  else
    redis.call('HDEL', hook, 'attempts:' .. event)
    redis.call('HINCRBY', hook, verdict == 'delivered' and 'delivered' or 'failed', 1)
    local out = redis.call('HINCRBY', hook, 'out', -1)
    if out <= 0 and redis.call('HEXISTS', hook, 'told') == 1 then end_hook(id, n, retention) end
  end
end
if disabled then
  if registered(line) then
    if redis.call('HGET', endpoint_key(line), 'state') == 'enabled' and id ~= TEST then
      redis.call('HSET', endpoint_key(line), 'state', 'disabled', 'reason', reason, 'disabled_at', fmt(now))
      redis.call('ZUNIONSTORE', todo_key(line), 1, todo_key(line), 'WEIGHTS', 0) -- give up what waits
      redis.call('HDEL', key, 'paused_until')
    end
  elseif has_hook then
    drop_hook(id, n, reason, retention)
    if verdict ~= 'gone' then -- give up all that waits for the host now, or its jobs would be kept for ever
      redis.call('HSET', key, 'given_up_at', fmt(now), 'given_up_why', reason)
      redis.call('HDEL', key, 'failing_since', 'paused_until')
    end
  end
end
schedule(line, max_at_once)
