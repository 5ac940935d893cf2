-- requires: values, keys, states, webhooks, endings
-- What the scripts of webhooks share.
--
-- The outbox is not a list of messages. Each hook of a job records how far it was delivered, and its next event is found
-- by comparing that with the job. A destination (`line`) is one endpoint, or one host to which an owner's jobs name
-- URLs. Its queue `todo` holds, by the time when they are due, hooks to look at ("job n") and deliveries that wait for
-- another attempt ("job n event"). Its `leased` holds the deliveries under way, by the end of their lease.
-- `sl:due:webhooks` holds the destinations, by the time to look at them. `sl:slow:<owner>` holds an owner's deliveries
-- under way to destinations that are slow, fail or are unknown, by the end of their lease.
local DUE = 'sl:due:webhooks'
local FIRST_WINDOW = 2 -- deliveries at once to a destination that has not answered yet
local TEST = 'test' -- stands for the job in a test event

local function line_key(line) return 'sl:line:' .. line end
local function todo_key(line) return 'sl:line:' .. line .. ':todo' end
local function leased_key(line) return 'sl:line:' .. line .. ':leased' end
local function slow_key(owner) return 'sl:slow:' .. owner end
local function endpoint_key(line) return 'sl:endpoint:' .. line end
local function registered(line) return string.sub(line, 1, 3) == 'wh_' end

-- Returns job, number of the hook, and event; the event is '' for a hook to look at.
local function parse_member(member) return string.match(member, '^(%S+) (%S+) ?(%S*)$') end

local function over(state) return not open(state) and state ~= 'finishing' end

local function window(line, max_at_once)
  return math.min(tonumber(redis.call('HGET', line_key(line), 'window') or FIRST_WINDOW), tonumber(max_at_once))
end

-- Sets when to look at a destination next, if at all.
local function schedule(line, max_at_once)
  local at, leased = nil, leased_key(line)
  if redis.call('ZCOUNT', leased, '(' .. fmt(now_ms()), '+inf') < window(line, max_at_once) then
    local first = redis.call('ZRANGE', todo_key(line), 0, 0, 'WITHSCORES')[2]
    at = first and math.max(tonumber(first), tonumber(redis.call('HGET', line_key(line), 'paused_until') or '0'))
  end
  local lease = redis.call('ZRANGE', leased, 0, 0, 'WITHSCORES')[2]
  if lease then at = math.min(at or math.huge, tonumber(lease)) end
  if at then redis.call('ZADD', DUE, fmt(at), line) else redis.call('ZREM', DUE, line) end
end

-- Ends a hook whose events are all delivered or given up. With the last hook of a job that is over, its retention
-- begins.
local function end_hook(id, n, retention)
  if redis.call('HSETNX', hook_key(id, n), 'ended', '1') == 0 then return end
  local left = redis.call('HINCRBY', job_key(id), 'hooks_open', -1)
  if left <= 0 and over(redis.call('HGET', job_key(id), 'state')) then retire_in(id, retention) end
end

local function drop_hook(id, n, why, retention)
  if redis.call('EXISTS', hook_key(id, n)) == 0 then return end
  redis.call('HSETNX', hook_key(id, n), 'dropped', why)
  end_hook(id, n, retention)
end
