-- What /metrics shows of the queue as it stands. Writes nothing. Answers JSON: of each lane its model, how many images
-- workers hold, for how many ms the oldest has waited that nobody has claimed, and the oldest job; what is due.
local now, lanes = now_ms(), {}
for _, model in ipairs(redis.call('SMEMBERS', 'sl:models')) do
  local rate = redis.call('HMGET', rate_key(model), 'rows', 'ms')
  for _, lane in ipairs({ 'interactive', 'bulk' }) do
    local stream, held, waits = stream_key(model, lane), 0, 0
    if redis.call('EXISTS', stream) == 1 then
      held = redis.call('XPENDING', stream, GROUP)[1]
      local group = as_table(redis.call('XINFO', 'GROUPS', stream)[1])
      local first = redis.call('XRANGE', stream, '(' .. group['last-delivered-id'], '+', 'COUNT', 1)[1]
      if first then waits = math.max(0, now - tonumber(string.match(first[1], '^%d+'))) end
    end
    local job = redis.call('ZRANGE', active_key(model, lane), 0, 0, 'WITHSCORES')
    lanes[#lanes + 1] = {
      target = model, lane = lane, held = held, waits = waits, job = job[2] and math.max(0, now - tonumber(job[2])) or 0,
      rows = tonumber(redis.call('HGET', 'sl:open', 'lane:' .. model .. ':' .. lane) or '0'),
      rate = rate[1] and tonumber(rate[2]) > 0 and 1000 * tonumber(rate[1]) / tonumber(rate[2]) or 0,
    }
  end
end
local function due(key)
  local oldest = redis.call('ZRANGEBYSCORE', key, '-inf', fmt(now), 'WITHSCORES', 'LIMIT', 0, 1)[2]
  return { count = redis.call('ZCOUNT', key, '-inf', fmt(now)), age = oldest and now - tonumber(oldest) or 0 }
end
return cjson.encode({
  lanes = #lanes > 0 and lanes or nil, duties = due('sl:due'), webhooks = due('sl:due:webhooks'),
  bytes = tonumber(redis.call('HGET', 'sl:open', 'bytes') or '0'),
})
