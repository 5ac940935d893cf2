-- ARGV: job, index, job, index, ... Counts that the processing of each image begins; see "poison" in the design.
for i = 1, #ARGV, 2 do
  if redis.call('EXISTS', job_key(ARGV[i])) == 1 then
    redis.call('HINCRBY', items_key(ARGV[i]), 'starts:' .. ARGV[i + 1], 1)
  end
end
