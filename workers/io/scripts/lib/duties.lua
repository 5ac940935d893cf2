-- requires: constants, values
-- Duties: what has to be done later, each a member of `sl:due` with the time when it is due.

-- Says whether the duty is new: one that is due or under way already stays as it is.
local function add_due(member, at) return redis.call('ZADD', 'sl:due', 'NX', fmt(at), member) == 1 end

-- Of a duty that the model or a caller waits for: it goes before all that only tidies up, however long that is due.
local function urgent() return now_ms() - AHEAD_MS end

-- A need that may come while somebody does the duty: another score, so that its record stays when that is done.
local function need_again(member) redis.call('ZADD', 'sl:due', fmt(now_ms()), member) end

-- A duty's record goes only if nobody renewed the need meanwhile: then its score is no longer the lease's.
local function end_duty(member, lease)
  if redis.call('ZSCORE', 'sl:due', member) == lease then redis.call('ZREM', 'sl:due', member) end
end
