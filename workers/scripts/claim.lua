-- ARGV: model, consumer, most images, window. Interactive lane first.
-- Answers JSON: items, and whether a duty became due, and whether unclaimed work may be left.
local model, consumer, most, window = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local items, due, more = {}, false, false
for _, lane in ipairs({ 'interactive', 'bulk' }) do
  local stream = stream_key(model, lane)
  local got = most
  while #items < most and got > 0 do
    got = 0
    local reply = redis.pcall('XREADGROUP', 'GROUP', GROUP, consumer, 'COUNT', most - #items, 'STREAMS', stream, '>')
    if reply and not reply.err and reply[1] then -- an error: no job ever used this lane
      for _, found in ipairs(reply[1][2]) do
        got = got + 1
        local entry = as_table(found[2])
        if live(entry) then
          local key = job_key(entry.job)
          redis.call('HINCRBY', key, 'queued', -1)
          redis.call('HINCRBY', key, 'running', 1)
          if redis.call('HGET', key, 'state') == 'queued' then
            redis.call('HSET', key, 'state', 'running', 'started_at', fmt(now_ms()))
            changed(entry.job)
          end
          items[#items + 1] = describe(stream, found[1], entry)
        else
          drop_entry(stream, found[1])
        end
        if redis.call('EXISTS', job_key(entry.job)) == 1 then
          local waiting = redis.call('HINCRBY', job_key(entry.job), 'waiting', -1)
          local job = redis.call('HMGET', job_key(entry.job), 'fed', 'total')
          if waiting < window / 2 and tonumber(job[1]) < tonumber(job[2]) then
            due = add_due('topup:' .. entry.job, now_ms()) or due
          end
        end
      end
      more = more or #items == most
    end
  end
end
return '{"items":' .. as_json(items) .. ',"due":' .. tostring(due) .. ',"more":' .. tostring(more) .. '}'
