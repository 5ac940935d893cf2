-- What every script shares: the names of the keys, and the few moves that several make.
-- Numbers that become strings go through fmt: Lua would write 1.7e+12 for a time in milliseconds.
local GROUP = 'workers'
local SEGMENT = 1000

local function fmt(number) return string.format('%.0f', number) end

local function now_ms()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

local function job_key(id) return 'sl:job:' .. id end
local function items_key(id) return 'sl:job:' .. id .. ':items' end
local function segment_key(id, index) return 'sl:job:' .. id .. ':seg:' .. fmt(math.floor(index / SEGMENT)) end
local function stream_key(model, lane) return 'sl:lane:' .. model .. ':' .. lane end

local function active(state) return state == 'queued' or state == 'running' end

-- Says whether the duty is new: one that is due or under way already stays as it is.
local function add_due(member, at) return redis.call('ZADD', 'sl:due', 'NX', fmt(at), member) == 1 end

-- A duty's record goes only if nobody renewed the need meanwhile: then its score is no longer the lease's.
local function end_duty(member, lease)
  if redis.call('ZSCORE', 'sl:due', member) == lease then redis.call('ZREM', 'sl:due', member) end
end

local function as_table(flat)
  local found = {}
  for i = 1, #flat, 2 do found[flat[i]] = flat[i + 1] end
  return found
end

-- An entry names (job, index, attempt); where the bytes are goes with it, so that a claim needs no second look-up.
local function add_entry(stream, job, index, attempt, faults, name, ref)
  redis.call('XADD', stream, '*', 'job', job, 'index', index, 'attempt', attempt, 'faults', faults,
    'name', name, 'ref', ref)
end

local function drop_entry(stream, entry)
  redis.call('XACK', stream, GROUP, entry)
  redis.call('XDEL', stream, entry)
end

-- Puts further images of a job into its lane: ARGV[from], ARGV[from + 1], ... are name, ref, name, ref, ...
local function feed(id, model, lane, fed, offset, from)
  local stream = stream_key(model, lane)
  redis.pcall('XGROUP', 'CREATE', stream, GROUP, '0', 'MKSTREAM') -- BUSYGROUP where it is there already
  local count = 0
  for i = from, #ARGV, 2 do
    add_entry(stream, id, fmt(fed + count), '0', '0', ARGV[i], ARGV[i + 1])
    count = count + 1
  end
  redis.call('HSET', job_key(id), 'fed', fmt(fed + count), 'fed_offset', offset)
  redis.call('HINCRBY', job_key(id), 'waiting', count)
end

-- Whether this delivery may still change its image: the job is active, the attempt is the latest, no result stands.
local function live(entry)
  if not active(redis.call('HGET', job_key(entry.job), 'state')) then return false end
  local attempt = redis.call('HGET', items_key(entry.job), 'attempt:' .. entry.index) or '0'
  return attempt == entry.attempt
    and redis.call('HEXISTS', segment_key(entry.job, tonumber(entry.index)), entry.index) == 0
end

-- What a claimer gets of an entry.
local function describe(stream, entry_id, entry)
  return {
    stream = stream, entry = entry_id, job = entry.job, index = tonumber(entry.index), attempt = entry.attempt,
    faults = tonumber(entry.faults), name = entry.name, ref = entry.ref,
    starts = tonumber(redis.call('HGET', items_key(entry.job), 'starts:' .. entry.index) or '0'),
    options = redis.call('HGET', job_key(entry.job), 'options'),
  }
end

local function as_json(list)
  if #list == 0 then return '[]' end -- cjson writes an empty table as an object
  return cjson.encode(list)
end
