-- requires: values, keys
-- The account of what waits and what is stored; the quotas on it; measured rates and counted results.

-- Adds to a field of the account. A field of a lane or an owner is deleted when it is 0.
local function count_open(field, delta)
  if redis.call('HINCRBY', 'sl:open', field, delta) == 0 and string.find(field, ':', 1, true) then
    redis.call('HDEL', 'sl:open', field)
  end
end

-- Counts accepted images without a result: in all, by owner and by lane, for limits and estimates. They are counted in
-- expected rows (`guess`), not in real ones, so that exactly what was added is subtracted again.
local function account(id, images)
  local job = redis.call('HMGET', job_key(id), 'model', 'lane', 'owner', 'guess')
  local delta = images * tonumber(job[4] or '1')
  count_open('images', delta)
  count_open('lane:' .. job[1] .. ':' .. job[2], delta)
  if job[3] ~= '' then count_open('images:' .. job[3], delta) end
end

-- Returns { 'full', field, in use, to add, allowed } for the first quota that would be exceeded, else nil. Each quota is
-- { field of sl:open, to add, allowed }, see `quotas` in workers/store/capacity.py.
local function refusal(quotas)
  for _, quota in ipairs(quotas) do
    local field, added, allowed = unpack(quota)
    local in_use = tonumber(redis.call('HGET', 'sl:open', field) or '0')
    if in_use + tonumber(added) > tonumber(allowed) then return { 'full', field, fmt(in_use), added, allowed } end
  end
end

-- Returns what a job's estimate is made of: the jobs before it in its lane, the lane's jobs, the lane's rows, the rows
-- of the interactive lane, and the measured rate as rows and ms.
local function queue_position(id, model, lane)
  local key, measured = active_key(model, lane), redis.call('HMGET', rate_key(model), 'rows', 'ms')
  local waiting = redis.call('HMGET', 'sl:open', 'lane:' .. model .. ':' .. lane, 'lane:' .. model .. ':interactive')
  return { redis.call('ZRANK', key, id), redis.call('ZCARD', key), waiting[1], waiting[2], measured[1], measured[2] }
end

local RATE_HALF_MS = 30000

-- Measures the rate: adds settled rows and the time spent on them, in ms. Workers' times overlap, so at most the time
-- since the last measurement is added. Older values are halved for every RATE_HALF_MS of work.
local function measure(model, rows, busy)
  local key, now = rate_key(model), now_ms()
  local rate = redis.call('HMGET', key, 'rows', 'ms', 'at')
  local ms = math.max(0, math.min(tonumber(busy), now - tonumber(rate[3] or '0'))) -- a clock may be set back
  local fade = 0.5 ^ (ms / RATE_HALF_MS)
  redis.call('HSET', key, 'rows', string.format('%.3f', fade * tonumber(rate[1] or '0') + rows),
    'ms', string.format('%.3f', fade * tonumber(rate[2] or '0') + ms), 'at', fmt(now))
end

-- Counts results for /metrics, in the script that changes the job's counts, so that each counts once. See
-- workers/telemetry/metrics.py.
local function count_results(target, version, outcome, code, images)
  local model = string.match(target, '^[^@]+')
  redis.call('HINCRBY', 'sl:metrics', cjson.encode({ 'shelfline_images_total', model, version, outcome, code }), images)
end

local function count_given_up(target, as, images)
  count_results(target, '', as, as == 'failed' and 'deadline_exceeded' or '', images)
end
