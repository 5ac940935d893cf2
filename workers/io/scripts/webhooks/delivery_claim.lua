-- requires: constants, values, keys, webhooks, outbox
-- ARGV: lease in ms, maximum of deliveries, of deliveries at once per destination, of deliveries to slow destinations,
-- and of those at once per owner, retention in ms.
-- Leases due deliveries, and moves their hooks forward to the next event. Returns for each: destination, member of its
-- queue, score of the lease, whether the destination is slow, attempts so far, and the hashes of job, hook and
-- endpoint.
local lease, max_deliveries, max_at_once, max_slow, max_slow_of_owner, retention = unpack(ARGV)
max_deliveries, max_slow, max_slow_of_owner = tonumber(max_deliveries), tonumber(max_slow), tonumber(max_slow_of_owner)
local LOOKS = 500 -- maximum of members to look at in one run, since Redis does nothing else meanwhile
local NOT_NOW_MS = 500
local now = now_ms()
local looks, leased = 0, {}

-- Returns whether a destination counts as slow: it is slow, it fails, or it has taken no delivery yet. Anyone can name
-- a new host that hangs with each job.
local function is_slow(line)
  return window(line, max_at_once) == 1 and tonumber(max_at_once) > 1
    or redis.call('HEXISTS', line_key(line), 'delivered_at') == 0
end

local function owner_is_busy(line, owner)
  return is_slow(line) and redis.call('ZCOUNT', slow_key(owner), '(' .. fmt(now), '+inf') >= max_slow_of_owner
end

local function has_result(id, index, job)
  return over(job.state) or redis.call('HEXISTS', segment_key(id, index), fmt(index)) == 1
    or redis.call('HEXISTS', items_key(id), 'sealed:' .. fmt(math.floor(index / SEGMENT))) == 1
end

-- Returns the next event of a hook, and records it in the hook; or nil, and when to look again if that is known.
local function next_event(id, n, hook, job)
  local key, ended = hook_key(id, n), over(job.state)
  local function wanted(event) return wants(hook.events, event) end
  if wanted('job.started') and job.started_at and not hook.started then
    redis.call('HSET', key, 'started', '1')
    return 'started'
  end
  local item = tonumber(hook.items or '0') -- the next image to send
  if wanted('item.finished') and item < tonumber(job.total) then
    if has_result(id, item, job) then
      redis.call('HSET', key, 'items', fmt(item + 1))
      return 'item-' .. fmt(item)
    end
  elseif wanted('job.finished') and ended and not hook.finished then
    redis.call('HSET', key, 'finished', '1')
    return 'finished'
  end
  local settled = fmt(tonumber(job.succeeded) + tonumber(job.failed) + tonumber(job.canceled))
  if wanted('job.progress') and not ended and settled ~= (hook.settled or '0') then
    local again = tonumber(hook.progress_at or '0') + PROGRESS_MS
    if now < again then return nil, again end
    redis.call('HSET', key, 'settled', settled, 'progress_at', fmt(now))
    return 'progress-' .. redis.call('HINCRBY', key, 'progress', 1)
  end
end

local function take_delivery(line, member, owner)
  redis.call('ZADD', leased_key(line), fmt(now + tonumber(lease)), member)
  if is_slow(line) then
    redis.call('ZREMRANGEBYSCORE', slow_key(owner), '-inf', fmt(now))
    redis.call('ZADD', slow_key(owner), fmt(now + tonumber(lease)), line .. ' ' .. member)
    redis.call('PEXPIRE', slow_key(owner), lease)
  end
  local id, n, event = parse_member(member)
  leased[#leased + 1] = { line, member, redis.call('ZSCORE', leased_key(line), member), is_slow(line) and '1' or '',
    redis.call('HGET', hook_key(id, n), 'attempts:' .. event) or '0',
    redis.call('HGETALL', job_key(id)), redis.call('HGETALL', hook_key(id, n)), redis.call('HGETALL', endpoint_key(line)) }
  return true
end

-- Removes a member from a destination's queue, since it will not be delivered.
local function give_up_delivery(line, member)
  redis.call('ZREM', todo_key(line), member)
  local id, n, event = parse_member(member)
  local hook = hook_key(id, n)
  if event == '' or redis.call('EXISTS', hook) == 0 then return end
  redis.call('HDEL', hook, 'attempts:' .. event)
  if redis.call('HINCRBY', hook, 'out', -1) <= 0 and redis.call('HEXISTS', hook, 'told') == 1 then
    end_hook(id, n, retention)
  end
end

-- Returns why what waits for a host was given up while this member waited for it, or nil.
local function given_up_why(line, member)
  local at, why = unpack(redis.call('HMGET', line_key(line), 'given_up_at', 'given_up_why'))
  if at and tonumber(redis.call('ZSCORE', todo_key(line), member)) <= tonumber(at) then return why end
end

-- Looks at the first member of a destination's queue; returns whether it leased a delivery, or 'later' if too many to
-- slow destinations of its owner are under way. `state` is false if the endpoint is gone, `registrar` is its owner.
local function look(line, member, state, registrar)
  local todo = todo_key(line)
  local id, n, event = parse_member(member)
  if id == TEST then
    if state and owner_is_busy(line, registrar) then return 'later' end
    redis.call('ZREM', todo, member)
    return state and take_delivery(line, member, registrar)
  end
  local hook, job = as_table(redis.call('HGETALL', hook_key(id, n))), as_table(redis.call('HGETALL', job_key(id)))
  local why = given_up_why(line, member)
    or state ~= 'enabled' and (state == 'disabled' and 'The endpoint is disabled.' or 'The endpoint was deleted.')
  if not hook.line or hook.dropped or why then
    give_up_delivery(line, member)
    drop_hook(id, n, why or '', retention)
  elseif string.match(event, '^progress') and over(job.state) then
    give_up_delivery(line, member) -- the progress of a job that is over is of no use
  elseif owner_is_busy(line, job.owner or '') then
    return 'later'
  elseif event ~= '' then
    redis.call('ZREM', todo, member)
    return take_delivery(line, member, job.owner)
  else
    local next, again = next_event(id, n, hook, job)
    if next then
      redis.call('ZADD', todo, fmt(now), member) -- after the other members that are due
      redis.call('HINCRBY', hook_key(id, n), 'out', 1)
      return take_delivery(line, member .. ' ' .. next, job.owner)
    elseif again then
      redis.call('ZADD', todo, fmt(again), member)
    else
      redis.call('ZREM', todo, member)
      if over(job.state) then
        redis.call('HSET', hook_key(id, n), 'told', '1')
        if tonumber(hook.out or '0') <= 0 then end_hook(id, n, retention) end
      end
    end
  end
  return false
end

local function owner_of(id, registrar) return id ~= TEST and redis.call('HGET', job_key(id), 'owner') or registrar or '' end

local function take(line)
  local state, registrar = 'enabled', nil
  if registered(line) then state, registrar = unpack(redis.call('HMGET', endpoint_key(line), 'state', 'owner')) end
  local abandoned = redis.call('ZRANGEBYSCORE', leased_key(line), '-inf', fmt(now), 'LIMIT', 0, 1)[1]
  if abandoned then -- its sender died: lease the same delivery again
    local id, n = parse_member(abandoned)
    if id == TEST or redis.call('EXISTS', hook_key(id, n)) == 1 then
      return take_delivery(line, abandoned, owner_of(id, registrar))
    end
    redis.call('ZREM', leased_key(line), abandoned)
  end
  if redis.call('ZCARD', leased_key(line)) >= window(line, max_at_once) then return false end
  if tonumber(redis.call('HGET', line_key(line), 'paused_until') or '0') > now then return false end
  while looks < LOOKS do
    local member = redis.call('ZRANGEBYSCORE', todo_key(line), '-inf', fmt(now), 'LIMIT', 0, 1)[1]
    if not member then return false end
    looks = looks + 1
    local leased_now = look(line, member, state, registrar or '')
    if leased_now then return leased_now end
  end
  return false
end

while #leased < max_deliveries and looks < LOOKS do
  local line = redis.call('ZRANGEBYSCORE', DUE, '-inf', fmt(now), 'LIMIT', 0, 1)[1]
  if not line then break end
  looks = looks + 1
  local is_slow_now = is_slow(line)
  if is_slow_now and max_slow <= 0 then
    redis.call('ZADD', DUE, fmt(now + NOT_NOW_MS), line)
  else
    local leased_now = take(line)
    if leased_now == 'later' then
      redis.call('ZADD', DUE, fmt(now + NOT_NOW_MS), line)
    else
      if leased_now and is_slow_now then max_slow = max_slow - 1 end
      schedule(line, max_at_once)
    end
  end
end
return leased
