-- requires: constants, values, keys, states
-- The lanes: streams of images that wait or are in flight, two for each target.

-- Adds an entry: job, index and attempt, with the reference of the bytes, so that a claim needs no second look-up.
local function add_entry(stream, job, index, attempt, faults, name, ref, custom_id)
  redis.call('XADD', stream, '*', 'job', job, 'index', index, 'attempt', attempt, 'faults', faults,
    'name', name, 'ref', ref, 'custom_id', custom_id)
end

-- Returns whether this consumer has claimed an entry. XPENDING fails if the lane is gone, and its entries with it.
local function is_mine(stream, entry, consumer)
  local rows = redis.pcall('XPENDING', stream, GROUP, entry, entry, 1)
  return not rows.err and rows[1] ~= nil and rows[1][2] == consumer
end

local function drop_entry(stream, entry)
  redis.call('XACK', stream, GROUP, entry)
  redis.call('XDEL', stream, entry)
end

-- Returns the first unclaimed entry of a lane, or nil. The group's `lag` would not do: Redis does not know it once an
-- entry in between was deleted.
local function unclaimed(stream)
  if redis.call('EXISTS', stream) == 0 then return nil end
  local group = as_table(redis.call('XINFO', 'GROUPS', stream)[1])
  return redis.call('XRANGE', stream, '(' .. group['last-delivered-id'], '+', 'COUNT', 1)[1]
end

-- Returns for how many ms the oldest unclaimed image of a lane has waited; 0 if none waits.
local function oldest_unclaimed(stream, now)
  local first = unclaimed(stream)
  return first and math.max(0, now - tonumber(string.match(first[1], '^%d+'))) or 0
end

-- Notes that a worker takes images of a target; returns whether one did lately.
local function attend(model) redis.call('SET', attended_key(model), '1', 'EX', ATTENDED_SECONDS) end
local function attended(model) return redis.call('EXISTS', attended_key(model)) == 1 end

-- Adds images of a job to its lane, and has the sweep look there. ARGV from `from` on is name, ref, custom_id, name,
-- ref, custom_id, ...
local function feed(id, model, lane, fed, offset, from)
  local stream = stream_key(model, lane)
  redis.call('SADD', 'sl:models', model)
  redis.pcall('XGROUP', 'CREATE', stream, GROUP, '0', 'MKSTREAM') -- fails with BUSYGROUP if the group exists
  local count = 0
  for i = from, #ARGV, 3 do
    add_entry(stream, id, fmt(fed + count), '0', '0', ARGV[i], ARGV[i + 1], ARGV[i + 2])
    count = count + 1
  end
  redis.call('HSET', job_key(id), 'fed', fmt(fed + count), 'fed_offset', offset)
  redis.call('HINCRBY', job_key(id), 'waiting', count)
end

-- Returns whether an image still waits for its result, and this entry is its latest attempt.
local function unsettled(entry)
  local marks = redis.call('HMGET', items_key(entry.job), 'attempt:' .. entry.index,
    'sealed:' .. fmt(math.floor(tonumber(entry.index) / SEGMENT)))
  return (marks[1] or '0') == entry.attempt and not marks[2]
    and redis.call('HEXISTS', segment_key(entry.job, tonumber(entry.index)), entry.index) == 0
end

-- Returns whether an entry may be processed (live), or may still change its image (counts).
local function live(entry) return active(redis.call('HGET', job_key(entry.job), 'state')) and unsettled(entry) end

local function counts(entry) return open(redis.call('HGET', job_key(entry.job), 'state')) and unsettled(entry) end

-- Returns the expected rows of an image: the mean of the job's settled images, else the guess. Without tiles it is 1.
local function weight(id)
  local job = redis.call('HMGET', job_key(id), 'guess', 'rows', 'rowed')
  if not job[1] then return 1 end
  return job[3] and math.max(1, tonumber(job[2]) / tonumber(job[3])) or tonumber(job[1])
end

-- Returns whether a job needs a top-up: less than half of the window, which is in rows, waits in its lane.
local function runs_low(id, waiting, window) return tonumber(waiting) * weight(id) < tonumber(window) / 2 end

-- Returns whether to send a wake-up for a target now; `ms` is for how long it may be on its way. None is sent while
-- another one for the target is on its way, nor while as many wait in the Celery queue as there are targets: then no
-- worker is free, and they would pile up. The sweep sends one later.
local function wake_up_wanted(model, queue, ms)
  if redis.call('LLEN', queue) >= math.max(1, redis.call('SCARD', 'sl:models')) then return 0 end
  return redis.call('SET', 'sl:ring:' .. model, '1', 'NX', 'PX', ms) and 1 or 0
end

-- Returns whether Redis started less than a lease ago. While it was down no lease could be renewed, so nothing is taken
-- over.
local function just_back(lease)
  local uptime = tonumber(string.match(redis.call('INFO', 'server'), 'uptime_in_seconds:(%d+)'))
  return uptime * 1000 < lease
end

-- Returns the pending entries that nobody renewed for a lease.
local function abandoned(stream, lease, count)
  local pending = redis.pcall('XPENDING', stream, GROUP, 'IDLE', lease, '-', '+', count)
  return pending.err and {} or pending -- an error: no job ever used this lane
end

-- Returns what a worker needs to know of an entry that it claims.
local function describe(stream, entry_id, entry)
  local job = redis.call('HMGET', job_key(entry.job), 'options', 'request_id', 'trace')
  return {
    stream = stream, entry = entry_id, job = entry.job, index = tonumber(entry.index), attempt = entry.attempt,
    faults = tonumber(entry.faults), name = entry.name, ref = entry.ref, custom_id = entry.custom_id,
    starts = tonumber(redis.call('HGET', items_key(entry.job), 'starts:' .. entry.index) or '0'),
    options = job[1], request_id = job[2] or nil, trace = job[3] or nil, rows = math.ceil(weight(entry.job)),
  }
end
