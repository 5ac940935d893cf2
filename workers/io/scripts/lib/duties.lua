-- requires: constants, values
-- Duties: what has to be done later, each a member of `sl:due`, scored by the time in ms when it is due.

-- Adds a duty and returns whether it is new. A duty that is already recorded keeps its time or lease.
local function add_due(member, at) return redis.call('ZADD', 'sl:due', 'NX', fmt(at), member) == 1 end

-- The score of a duty that the model or a caller waits for: it comes before every duty that only tidies up.
local function urgent() return now_ms() - AHEAD_MS end

-- Makes a duty due even while a worker does it: the new score keeps the record when that worker ends the duty.
local function need_again(member) redis.call('ZADD', 'sl:due', fmt(now_ms()), member) end

-- Removes the record of a duty, unless its score is no longer the lease's: then the need was renewed, or the lease
-- lost.
local function end_duty(member, lease)
  if redis.call('ZSCORE', 'sl:due', member) == lease then redis.call('ZREM', 'sl:due', member) end
end

-- Returns for how many ms the oldest member of a set of due times has been due and not leased; 0 if none is due.
-- Urgent duties have scores that lie AHEAD_MS earlier.
local function oldest_due(key, now)
  local function age(from, to)
    local oldest = redis.call('ZRANGEBYSCORE', key, from, fmt(to), 'WITHSCORES', 'LIMIT', 0, 1)[2]
    return oldest and to - tonumber(oldest) or 0
  end
  return math.max(age('-inf', now - AHEAD_MS), age(fmt(now - AHEAD_MS / 2), now))
end
