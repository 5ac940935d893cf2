-- requires: keys, lanes
-- ARGV: model, Celery queue of the upkeep. Whether a worker that is busy with the model is waited for elsewhere: by
-- upkeep, or by images of another model. Not by a ring for that: it may be over, or wait itself. Writes nothing.
if redis.call('LLEN', ARGV[2]) > 0 then return 1 end
for _, other in ipairs(redis.call('SMEMBERS', 'sl:models')) do
  if other ~= ARGV[1] and (unclaimed(stream_key(other, 'interactive')) or unclaimed(stream_key(other, 'bulk'))) then
    return 1
  end
end
return 0
