-- requires: keys, lanes
-- ARGV: target, Celery queue of the upkeep.
-- Returns whether other work waits for a worker that is busy with the target: upkeep, or images of another target. Only
-- images count, not wake-ups: the work of a wake-up may be done already. Writes nothing.
if redis.call('LLEN', ARGV[2]) > 0 then return 1 end
for _, other in ipairs(redis.call('SMEMBERS', 'sl:models')) do
  if other ~= ARGV[1] and (unclaimed(stream_key(other, 'interactive')) or unclaimed(stream_key(other, 'bulk'))) then
    return 1
  end
end
return 0
