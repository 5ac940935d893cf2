-- requires: values, keys, states, webhooks, endings
-- What the scripts of webhooks share. The outbox is no list of messages: each hook of a job holds how far it was told, and
-- what is to be told next is found by comparing that with the job. A line is what goes to one URL. Its `todo` holds, by
-- time, hooks to be looked at ("job n") and deliveries that wait for another attempt ("job n event"); its `leased` the
-- deliveries that somebody is making, by the end of the lease; `sl:due:webhooks` the lines, by when to look at them.
local DUE = 'sl:due:webhooks'
local FIRST_WINDOW = 2 -- deliveries under way to a line that nothing is known of
local TEST = 'test' -- in place of the job, where somebody tries an endpoint out

local function line_key(line) return 'sl:line:' .. line end
local function todo_key(line) return 'sl:line:' .. line .. ':todo' end
local function leased_key(line) return 'sl:line:' .. line .. ':leased' end
local function endpoint_key(line) return 'sl:endpoint:' .. line end
local function registered(line) return string.sub(line, 1, 3) == 'wh_' end

-- Job, number of the hook, and event: '' of a hook that is to be looked at.
local function parts(member) return string.match(member, '^(%S+) (%S+) ?(%S*)$') end

local function over(state) return not open(state) and state ~= 'finishing' end

local function window(line, most)
  return math.min(tonumber(redis.call('HGET', line_key(line), 'window') or FIRST_WINDOW), tonumber(most))
end

-- Sets when a line has to be looked at next, if at all.
local function schedule(line, most)
  local at, leased = nil, leased_key(line)
  if redis.call('ZCOUNT', leased, '(' .. fmt(now_ms()), '+inf') < window(line, most) then
    local first = redis.call('ZRANGE', todo_key(line), 0, 0, 'WITHSCORES')[2]
    at = first and math.max(tonumber(first), tonumber(redis.call('HGET', line_key(line), 'paused_until') or '0'))
  end
  local lease = redis.call('ZRANGE', leased, 0, 0, 'WITHSCORES')[2]
  if lease then at = math.min(at or math.huge, tonumber(lease)) end
  if at then redis.call('ZADD', DUE, fmt(at), line) else redis.call('ZREM', DUE, line) end
end

-- A hook was told everything, or will not be told any more. With the last one the job's retention begins.
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
