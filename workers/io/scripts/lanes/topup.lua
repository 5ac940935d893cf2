-- requires: values, keys, states, duties, lanes
-- ARGV: duty, lease, job, the fed that was read, window, offset, then name, ref, custom_id, name, ref, custom_id, ...
-- Compare-and-set on `fed`: two that top up at once add each image once. The need is looked at again before the
-- duty's record goes, because a claim that came between finds the record there and adds none.
local duty, lease, id, expected, window, offset = unpack(ARGV, 1, 6)
local job = as_table(redis.call('HGETALL', job_key(id)))
if active(job.state) and job.fed == expected then
  feed(id, job.model, job.lane, tonumber(expected), offset, 7)
  job = as_table(redis.call('HGETALL', job_key(id)))
end
local need = active(job.state) and tonumber(job.fed) < tonumber(job.total)
  and runs_low(id, job.waiting, window)
if need and #ARGV < 7 then return 0 end -- nothing came of the manifest: tried again after the lease, not at once
if need then
  redis.call('ZADD', 'sl:due', fmt(urgent()), duty)
else
  end_duty(duty, lease)
end
return 1
