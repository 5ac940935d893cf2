-- ARGV: model, Celery queue of the upkeep. Whether a worker that is busy with the model is waited for elsewhere: by
-- upkeep, or by a ring for another model. Writes nothing.
if redis.call('LLEN', ARGV[2]) > 0 then return 1 end
for _, other in ipairs(redis.call('SMEMBERS', 'sl:models')) do
  if other ~= ARGV[1] and redis.call('EXISTS', 'sl:ring:' .. other) == 1 then return 1 end
end
return 0
