-- requires: constants, values, keys, states, duties, webhooks, lanes, account, endings
-- ARGV: ms of work since the last settle, retention in ms, then for each image: stream, entry, job, index, attempt,
-- outcome (succeeded|failed), model version or '', result, the number of its rows.
-- Stores results, once each: nothing happens to an image whose job is gone or over, whose attempt is not the latest, or
-- that has a result. Returns how many images were settled, and whether a duty became due.
local settled, rows, due, outcomes = {}, 0, 0, {}
-- Returns the error code of a failed image's result.
local function code_of(result)
  local failure = cjson.decode(result).error
  return failure and failure.code or ''
end

-- Gives up a job if more of its images failed than `max_failure_rate` allows, once at least `min_done` images are done.
local function give_up_if_hopeless(id, max_rate, min_done)
  local job = redis.call('HMGET', job_key(id), 'state', 'succeeded', 'failed', 'queued', 'running')
  local failed = tonumber(job[3])
  local done = tonumber(job[2]) + failed
  if not active(job[1]) or done < min_done or failed <= max_rate * done or tonumber(job[4]) + tonumber(job[5]) == 0 then
    return false
  end
  redis.call('HSET', job_key(id), 'error', cjson.encode({
    code = 'too_many_failures', retryable = false,
    detail = fmt(failed) .. ' of the first ' .. fmt(done) .. ' images failed, more than max_failure_rate allows ('
      .. string.format('%g', max_rate) .. '): the rest was given up. See the errors of the failed images.',
  }))
  return give_up_rest(id, 'failed', 'canceled')
end

for i = 3, #ARGV, 9 do
  local stream, entry_id, id, index, attempt, outcome, version, result, made = unpack(ARGV, i, i + 8)
  if counts({ job = id, index = index, attempt = attempt }) then
    local key, segment = job_key(id), segment_key(id, tonumber(index))
    redis.call('HSET', segment, index, result)
    redis.call('HDEL', items_key(id), 'starts:' .. index, 'attempt:' .. index)
    redis.call('HINCRBY', key, 'running', -1)
    redis.call('HINCRBY', key, outcome, 1)
    if version ~= '' then redis.call('HINCRBY', key, 'version:' .. version, 1) end
    local job = redis.call('HMGET', key, 'total', 'guess', 'failure_rate', 'failure_least')
    local total = tonumber(job[1])
    if job[2] and made ~= '0' then
      redis.call('HINCRBY', key, 'rows', made)
      redis.call('HINCRBY', key, 'rowed', 1)
    end
    rows = rows + math.max(1, tonumber(made))
    local number = math.floor(tonumber(index) / SEGMENT)
    if total > SEGMENT and redis.call('HLEN', segment) == math.min(SEGMENT, total - number * SEGMENT) then
      add_due('seal:' .. id .. ':' .. fmt(number), urgent())
      due = 1
    end
    if job[3] and outcome == 'failed' and give_up_if_hopeless(id, tonumber(job[3]), tonumber(job[4])) then due = 1 end
    if finish_if_done(id, ARGV[2]) then due = 1 end
    settled[id] = (settled[id] or 0) + 1
    local why = outcome == 'failed' and code_of(result) or ''
    local kind = cjson.encode({ version, outcome, why })
    outcomes[kind] = (outcomes[kind] or 0) + 1
  end
  drop_entry(stream, entry_id)
end
local count = 0
for id, images in pairs(settled) do
  account(id, -images)
  changed(id)
  tell(id, 'item.finished')
  count = count + images
end
if count > 0 then
  local model = redis.call('HGET', job_key(next(settled)), 'model') -- one for all: a pipeline has one target
  measure(model, rows, ARGV[1])
  for kind, images in pairs(outcomes) do
    local version, outcome, why = unpack(cjson.decode(kind))
    count_results(model, version, outcome, why, images)
  end
end
return { count, due }
