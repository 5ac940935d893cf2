-- requires: values, keys, duties, lanes
-- Looks for work that nobody takes; writes nothing. Returns the target with the longest waiting image that no worker
-- attends to, or '', for how many ms that image has waited, and for how many ms a duty has that nobody does.
local now, worst, waits = now_ms(), '', 0
for _, model in ipairs(redis.call('SMEMBERS', 'sl:models')) do
  if not attended(model) then
    for _, lane in ipairs({ 'interactive', 'bulk' }) do
      local ms = oldest_unclaimed(stream_key(model, lane), now)
      if ms > waits then worst, waits = model, ms end
    end
  end
end
local done = redis.call('EXISTS', 'sl:attended-duties') == 1
return { worst, waits, done and 0 or oldest_due('sl:due', now) }
