#!lua flags=allow-oom
-- requires: keys
-- ARGV: job, then index, result, index, result, ...
-- Writes the results of images that were given up, while their job is finishing.
local id = ARGV[1]
if redis.call('HGET', job_key(id), 'state') == 'finishing' then
  for i = 2, #ARGV, 2 do redis.call('HSETNX', segment_key(id, tonumber(ARGV[i])), ARGV[i], ARGV[i + 1]) end
end
