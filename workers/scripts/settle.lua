-- ARGV: stream, entry, job, index, attempt, outcome (succeeded|failed), model version or '', result, ...
-- A result is written once: nothing happens to an image whose job is gone or over, whose attempt is not the latest,
-- or that has a result. Answers how many images were settled, and whether a duty became due.
local settled, due = 0, 0
for i = 1, #ARGV, 8 do
  local stream, entry_id, id, index, attempt, outcome, version, result = unpack(ARGV, i, i + 7)
  if live({ job = id, index = index, attempt = attempt }) then
    local key = job_key(id)
    redis.call('HSET', segment_key(id, tonumber(index)), index, result)
    redis.call('HDEL', items_key(id), 'starts:' .. index, 'attempt:' .. index)
    redis.call('HINCRBY', key, 'running', -1)
    redis.call('HINCRBY', key, outcome, 1)
    if version ~= '' then redis.call('HINCRBY', key, 'version:' .. version, 1) end
    local job = redis.call('HMGET', key, 'total', 'succeeded', 'failed', 'canceled')
    if tonumber(job[2]) + tonumber(job[3]) + tonumber(job[4]) == tonumber(job[1]) then
      redis.call('HSET', key, 'state', 'finishing')
      add_due('finish:' .. id, now_ms())
      due = 1
    end
    settled = settled + 1
  end
  drop_entry(stream, entry_id)
end
return { settled, due }
