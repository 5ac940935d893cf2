-- ARGV: lease in ms. Answers the models with work that nobody holds, and whether a duty is overdue.
-- Once a minute it also forgets the consumers of processes that ended. One with pending entries stays: without its
-- consumer an entry can never be claimed again. And it forgets single versions of models that nobody waits for.
local tidy = redis.call('SET', 'sl:tidied', '1', 'NX', 'PX', 60000)
local models = {}
for _, model in ipairs(redis.call('SMEMBERS', 'sl:models')) do
  local entries = 0
  for _, lane in ipairs({ 'interactive', 'bulk' }) do
    local stream = stream_key(model, lane)
    if redis.call('EXISTS', stream) == 1 then
      entries = entries + redis.call('XLEN', stream)
      for _, consumer in ipairs(tidy and redis.call('XINFO', 'CONSUMERS', stream, GROUP) or {}) do
        consumer = as_table(consumer)
        if consumer.pending == 0 and consumer.idle > 10 * tonumber(ARGV[1]) then
          redis.call('XGROUP', 'DELCONSUMER', stream, GROUP, consumer.name)
        end
      end
      if unclaimed(stream) or #redis.call('XPENDING', stream, GROUP, 'IDLE', ARGV[1], '-', '+', 1) > 0 then
        models[#models + 1] = model
        break
      end
    end
  end
  if tidy and entries == 0 and string.find(model, '@', 1, true) then redis.call('SREM', 'sl:models', model) end
end
local overdue = redis.call('ZRANGEBYSCORE', 'sl:due', '-inf', fmt(now_ms()), 'LIMIT', 0, 1)
return { models, #overdue }
