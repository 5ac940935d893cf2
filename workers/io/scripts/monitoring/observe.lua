-- requires: constants, values, keys, duties, lanes
-- Reads what /metrics shows of the queue; writes nothing.
-- Returns JSON. For each lane: target, images in flight (held), the age in ms of the oldest unclaimed image (waits; also
-- as unattended, if no worker takes images of the target) and of the oldest job (job), rows without a result, and the
-- measured rate in rows per second. Then the duties and the webhook destinations that are due, and the stored bytes.
local now, lanes = now_ms(), {}
for _, model in ipairs(redis.call('SMEMBERS', 'sl:models')) do
  local rate = redis.call('HMGET', rate_key(model), 'rows', 'ms')
  for _, lane in ipairs({ 'interactive', 'bulk' }) do
    local stream, held, waits = stream_key(model, lane), 0, 0
    if redis.call('EXISTS', stream) == 1 then
      held = redis.call('XPENDING', stream, GROUP)[1]
      waits = oldest_unclaimed(stream, now)
    end
    local job = redis.call('ZRANGE', active_key(model, lane), 0, 0, 'WITHSCORES')
    lanes[#lanes + 1] = {
      target = model, lane = lane, held = held, waits = waits,
      unattended = attended(model) and 0 or waits, job = job[2] and math.max(0, now - tonumber(job[2])) or 0,
      rows = tonumber(redis.call('HGET', 'sl:open', 'lane:' .. model .. ':' .. lane) or '0'),
      rate = rate[1] and tonumber(rate[2]) > 0 and 1000 * tonumber(rate[1]) / tonumber(rate[2]) or 0,
    }
  end
end
local function due(key)
  return { count = redis.call('ZCOUNT', key, '-inf', fmt(now)), age = oldest_due(key, now) }
end
return cjson.encode({
  lanes = #lanes > 0 and lanes or nil, duties = due('sl:due'), webhooks = due('sl:due:webhooks'),
  bytes = tonumber(redis.call('HGET', 'sl:open', 'bytes') or '0'),
})
