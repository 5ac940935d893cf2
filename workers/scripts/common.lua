-- What every script shares: the names of the keys, and the few moves that several make.
-- Numbers that become strings go through fmt: Lua would write 1.7e+12 for a time in milliseconds.
local GROUP = 'workers'
local SEGMENT = 1000
local RATE_HALF_MS = 30000
local PROGRESS_MS = 5000
local AHEAD_MS = 1e12

local function fmt(number) return string.format('%.0f', number) end

local function now_ms()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

local function job_key(id) return 'sl:job:' .. id end
local function items_key(id) return 'sl:job:' .. id .. ':items' end
local function segment_key(id, index) return 'sl:job:' .. id .. ':seg:' .. fmt(math.floor(index / SEGMENT)) end
local function stream_key(model, lane) return 'sl:lane:' .. model .. ':' .. lane end

local function gone_key(id) return 'sl:gone:' .. id end
local function active_key(model, lane) return 'sl:active:' .. model .. ':' .. lane end
local function owner_key(owner) return 'sl:jobs:' .. owner end
local function rate_key(model) return 'sl:rate:' .. string.match(model, '^[^@]+') end -- of all its versions

-- Whether images of the job may still be claimed; and whether results of those that were claimed still count.
local function active(state) return state == 'queued' or state == 'running' end
local function open(state) return active(state) or state == 'canceling' end

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

-- Tells those who follow a job that there is something new: its state, its counts, a result.
local function changed(id) redis.call('PUBLISH', 'sl:changed', id) end

-- A job's webhooks, numbered from 0: what they are, and how far they were told.
local function hook_key(id, n) return 'sl:job:' .. id .. ':hook:' .. n end
local function wants(events, event) return string.find(',' .. events .. ',', ',' .. event .. ',', 1, true) ~= nil end

-- Has senders look at what a job's webhooks have to be told, see outbox.lua. It belongs into the script that makes it so:
-- then nothing is told early, and nothing is lost.
local function tell(id, event)
  local now = now_ms()
  for n = 0, tonumber(redis.call('HGET', job_key(id), 'hooks') or '0') - 1 do
    local hook, at = redis.call('HMGET', hook_key(id, n), 'line', 'events', 'progress_at', 'ended'), nil
    if event == 'job.finished' or wants(hook[2], event) then
      at = now
    elseif event == 'item.finished' and wants(hook[2], 'job.progress') then
      at = math.max(now, tonumber(hook[3] or '0') + PROGRESS_MS)
    end
    if at and not hook[4] then
      redis.call('ZADD', 'sl:line:' .. hook[1] .. ':todo', 'LT', fmt(at), id .. ' ' .. n)
      redis.call('ZADD', 'sl:due:webhooks', 'LT', fmt(at), hook[1])
    end
  end
end

local function as_table(flat)
  local found = {}
  for i = 1, #flat, 2 do found[flat[i]] = flat[i + 1] end
  return found
end

-- An entry names (job, index, attempt); where the bytes are goes with it, so that a claim needs no second look-up.
local function add_entry(stream, job, index, attempt, faults, name, ref, custom_id)
  redis.call('XADD', stream, '*', 'job', job, 'index', index, 'attempt', attempt, 'faults', faults,
    'name', name, 'ref', ref, 'custom_id', custom_id)
end

-- Whether an entry is in this consumer's hands. An error: its lane is gone, and the entry was dropped long before.
local function is_mine(stream, entry, consumer)
  local rows = redis.pcall('XPENDING', stream, GROUP, entry, entry, 1)
  return not rows.err and rows[1] ~= nil and rows[1][2] == consumer
end

local function drop_entry(stream, entry)
  redis.call('XACK', stream, GROUP, entry)
  redis.call('XDEL', stream, entry)
end

-- The first entry there that nobody has claimed, or nothing. Not by the group's `lag`: it is unknown as soon as an entry
-- in between was deleted.
local function unclaimed(stream)
  if redis.call('EXISTS', stream) == 0 then return nil end
  local group = as_table(redis.call('XINFO', 'GROUPS', stream)[1])
  return redis.call('XRANGE', stream, '(' .. group['last-delivered-id'], '+', 'COUNT', 1)[1]
end

-- Puts further images of a job into its lane, and has the sweep look there: ARGV[from], ARGV[from + 1], ... are name,
-- ref, custom_id, name, ref, custom_id, ...
local function feed(id, model, lane, fed, offset, from)
  local stream = stream_key(model, lane)
  redis.call('SADD', 'sl:models', model)
  redis.pcall('XGROUP', 'CREATE', stream, GROUP, '0', 'MKSTREAM') -- BUSYGROUP where it is there already
  local count = 0
  for i = from, #ARGV, 3 do
    add_entry(stream, id, fmt(fed + count), '0', '0', ARGV[i], ARGV[i + 1], ARGV[i + 2])
    count = count + 1
  end
  redis.call('HSET', job_key(id), 'fed', fmt(fed + count), 'fed_offset', offset)
  redis.call('HINCRBY', job_key(id), 'waiting', count)
end

-- Whether an image still waits for its result, and for that of this attempt.
local function unsettled(entry)
  local marks = redis.call('HMGET', items_key(entry.job), 'attempt:' .. entry.index,
    'sealed:' .. fmt(math.floor(tonumber(entry.index) / SEGMENT)))
  return (marks[1] or '0') == entry.attempt and not marks[2]
    and redis.call('HEXISTS', segment_key(entry.job, tonumber(entry.index)), entry.index) == 0
end

-- Whether this delivery may be processed; and whether it may still change its image.
local function live(entry) return active(redis.call('HGET', job_key(entry.job), 'state')) and unsettled(entry) end
local function counts(entry) return open(redis.call('HGET', job_key(entry.job), 'state')) and unsettled(entry) end

-- How many rows an image of the job makes: what those made that are done, or the guess. A job without tiles has none.
local function weight(id)
  local job = redis.call('HMGET', job_key(id), 'guess', 'rows', 'rowed')
  if not job[1] then return 1 end
  return job[3] and math.max(1, tonumber(job[2]) / tonumber(job[3])) or tonumber(job[1])
end

-- Whether so few images of a job wait in its lane that it has to be filled up; the window is in rows.
local function runs_low(id, waiting, window) return tonumber(waiting) * weight(id) < tonumber(window) / 2 end

-- Counts in the account; what belongs to a lane or an owner is forgotten when it is nothing.
local function count_open(field, delta)
  if redis.call('HINCRBY', 'sl:open', field, delta) == 0 and string.find(field, ':', 1, true) then
    redis.call('HDEL', 'sl:open', field)
  end
end

-- Keeps account of accepted images without a result, in all, by owner and by lane: limits and estimates need it. They
-- are counted as the rows that were guessed, so that what was added is what is taken off.
local function account(id, images)
  local job = redis.call('HMGET', job_key(id), 'model', 'lane', 'owner', 'guess')
  local delta = images * tonumber(job[4] or '1')
  count_open('images', delta)
  count_open('lane:' .. job[1] .. ':' .. job[2], delta)
  if job[3] ~= '' then count_open('images:' .. job[3], delta) end
end

-- What of the limits lets no job in, as a script answers it; each is { field of sl:open, what is added, how much there may
-- be }.
local function refusal(limits)
  for _, limit in ipairs(limits) do
    local there = tonumber(redis.call('HGET', 'sl:open', limit[1]) or '0')
    if there + tonumber(limit[2]) > tonumber(limit[3]) then
      return { 'full', limit[1], fmt(there), limit[2], limit[3] }
    end
  end
end

-- Whether to ring for a model now; `ms` is for how long a ring may be under way.
-- Not while one for the model is under way; nor where as many rings as there are models wait: nobody takes them up, and
-- they would only pile up. The sweep rings when somebody does.
local function rings(model, queue, ms)
  if redis.call('LLEN', queue) >= math.max(1, redis.call('SCARD', 'sl:models')) then return 0 end
  return redis.call('SET', 'sl:ring:' .. model, '1', 'NX', 'PX', ms) and 1 or 0
end

-- What a job's estimate is made of: jobs of its lane before it, jobs there, rows there, rows of the interactive lane, and
-- what was measured, rows and ms.
local function standing(id, model, lane)
  local key, measured = active_key(model, lane), redis.call('HMGET', rate_key(model), 'rows', 'ms')
  local waiting = redis.call('HMGET', 'sl:open', 'lane:' .. model .. ':' .. lane, 'lane:' .. model .. ':interactive')
  return { redis.call('ZRANK', key, id), redis.call('ZCARD', key), waiting[1], waiting[2], measured[1], measured[2] }
end

-- Notes how many rows were settled, and in how much time that was spent on them. Several workers' times overlap,
-- hence at most the time since the last note. What is old counts half for every RATE_HALF_MS of work since.
local function measure(model, rows, busy)
  local key, now = rate_key(model), now_ms()
  local rate = redis.call('HMGET', key, 'rows', 'ms', 'at')
  local ms = math.max(0, math.min(tonumber(busy), now - tonumber(rate[3] or '0'))) -- a clock may be set back
  local fade = 0.5 ^ (ms / RATE_HALF_MS)
  redis.call('HSET', key, 'rows', string.format('%.3f', fade * tonumber(rate[1] or '0') + rows),
    'ms', string.format('%.3f', fade * tonumber(rate[2] or '0') + ms), 'at', fmt(now))
end

-- Has everything of a job that is over deleted after so many ms.
local function retire_in(id, retention)
  local at = now_ms() + tonumber(retention)
  redis.call('HSET', job_key(id), 'expires_at', fmt(at))
  add_due('retire:' .. id, at)
end

-- The last step of a job whose every image has its result where it stays. A job with webhooks is kept until they were
-- told: then its retention begins, see outbox.lua.
local function end_job(id, retention)
  local key = job_key(id)
  local job, state = as_table(redis.call('HGETALL', key)), 'partial'
  if tonumber(job.given_up or '0') > 0 or job.total == '0' then state = job.ending
  elseif job.succeeded == job.total then state = 'succeeded'
  elseif job.failed == job.total then state = 'failed' end
  redis.call('HSET', key, 'state', state, 'finished_at', fmt(now_ms()))
  if tonumber(job.hooks_open or '0') > 0 then
    tell(id, 'job.finished')
  else
    retire_in(id, retention)
  end
  redis.call('DEL', items_key(id))
  redis.call('PUBLISH', 'sl:finished', id)
end

-- Ends a job whose every image is settled, at once where there is nothing more to do for it than that, else by a duty;
-- says whether that is due. `retention` is nothing where images were given up, whose results are still to be written.
local function finish_if_done(id, retention)
  local key = job_key(id)
  local job = redis.call('HMGET', key, 'queued', 'running', 'state', 'model', 'lane', 'total', 'given_up', 'output')
  if not open(job[3]) or tonumber(job[1]) + tonumber(job[2]) > 0 then return false end
  redis.call('HSET', key, 'state', 'finishing', 'settled_at', fmt(now_ms()))
  redis.call('ZREM', active_key(job[4], job[5]), id)
  redis.call('ZREM', 'sl:due', 'expire:' .. id, 'topup:' .. id)
  if retention and tonumber(job[6]) <= SEGMENT and tonumber(job[7] or '0') == 0 and not job[8] then
    end_job(id, retention)
    return false
  end
  add_due('finish:' .. id, urgent())
  return true
end

-- Counts results for /metrics, where they are written: so each counts once. See workers/metrics/counted.py.
local function count_results(target, version, outcome, code, images)
  local model = string.match(target, '^[^@]+')
  redis.call('HINCRBY', 'sl:metrics', cjson.encode({ 'shelfline_images_total', model, version, outcome, code }), images)
end

local function count_given_up(target, as, images)
  count_results(target, '', as, as == 'failed' and 'deadline_exceeded' or '', images)
end

-- Begins the end of a job that was never listed.
local function end_unlisted(id, ending)
  redis.call('HSET', job_key(id), 'state', 'finishing', 'ending', ending)
  redis.call('ZREM', 'sl:due', 'expire:' .. id)
  add_due('finish:' .. id, urgent())
  changed(id)
end

-- Gives up what of an active job nobody has claimed; what is claimed ends at its worker's next question. Says whether a
-- duty is due.
local function give_up_rest(id, ending, as)
  local key = job_key(id)
  local queued = redis.call('HGET', key, 'queued')
  redis.call('HSET', key, 'state', 'canceling', 'ending', ending, 'given_up_as', as, 'queued', 0)
  redis.call('HINCRBY', key, as, queued)
  redis.call('HINCRBY', key, 'given_up', queued)
  count_given_up(redis.call('HGET', key, 'model'), as, queued)
  account(id, -tonumber(queued))
  local due = finish_if_done(id)
  changed(id)
  return due
end

-- Ends a claimed image of a job that was canceled or whose time is over. The attempt goes up, so that whoever still
-- works on it changes nothing.
local function give_up(entry)
  local key = job_key(entry.job)
  redis.call('HINCRBY', items_key(entry.job), 'attempt:' .. entry.index, 1)
  redis.call('HINCRBY', key, 'running', -1)
  local job = redis.call('HMGET', key, 'given_up_as', 'model')
  redis.call('HINCRBY', key, job[1], 1)
  count_given_up(job[2], job[1], 1)
  redis.call('HINCRBY', key, 'given_up', 1)
  account(entry.job, -1)
  changed(entry.job)
  return finish_if_done(entry.job)
end

-- A Redis that has just come back saw no renewals while it was away: everyone gets one whole lease first.
local function just_back(lease)
  local uptime = tonumber(string.match(redis.call('INFO', 'server'), 'uptime_in_seconds:(%d+)'))
  return uptime * 1000 < lease
end

-- What nobody renewed for a lease.
local function abandoned(stream, lease, most)
  local pending = redis.pcall('XPENDING', stream, GROUP, 'IDLE', lease, '-', '+', most)
  return pending.err and {} or pending -- an error: no job ever used this lane
end

-- What a claimer gets of an entry.
local function describe(stream, entry_id, entry)
  local job = redis.call('HMGET', job_key(entry.job), 'options', 'request_id', 'trace')
  return {
    stream = stream, entry = entry_id, job = entry.job, index = tonumber(entry.index), attempt = entry.attempt,
    faults = tonumber(entry.faults), name = entry.name, ref = entry.ref, custom_id = entry.custom_id,
    starts = tonumber(redis.call('HGET', items_key(entry.job), 'starts:' .. entry.index) or '0'),
    options = job[1], request_id = job[2] or nil, trace = job[3] or nil, rows = math.ceil(weight(entry.job)),
  }
end

local function as_json(list)
  if #list == 0 then return '[]' end -- cjson writes an empty table as an object
  return cjson.encode(list)
end
