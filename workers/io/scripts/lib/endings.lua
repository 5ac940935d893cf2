-- requires: constants, values, keys, states, duties, webhooks, account
-- How jobs end: finished, given up, deleted after their retention.

-- Makes the deletion of a job that is over due after so many ms.
local function retire_in(id, retention)
  local at = now_ms() + tonumber(retention)
  redis.call('HSET', job_key(id), 'expires_at', fmt(at))
  add_due('retire:' .. id, at)
end

-- Ends a job whose results are all where they stay. The retention of a job with webhooks begins when its deliveries
-- have ended, see lib/outbox.lua.
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

-- Begins the end of a job whose images are all settled or given up. It ends at once if nothing else has to be done,
-- else by a duty. Returns whether that duty became due. `retention` is nil if images were given up: a duty writes their
-- results.
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

-- Begins the end of a job whose images were never listed.
local function end_unlisted(id, ending)
  redis.call('HSET', job_key(id), 'state', 'finishing', 'ending', ending)
  redis.call('ZREM', 'sl:due', 'expire:' .. id)
  add_due('finish:' .. id, urgent())
  changed(id)
end

-- Gives up the unclaimed images of an active job. Its images in flight are given up when their worker next asks about
-- them. Returns whether a duty became due.
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

-- Gives up a claimed image of a job that was canceled or has expired. The attempt goes up, so that a worker that still
-- processes the image changes nothing.
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
