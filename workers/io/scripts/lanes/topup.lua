-- requires: values, keys, states, duties, lanes
-- ARGV: duty, lease, job, the `fed` that the caller read, window in rows, offset, then name, ref, custom_id, ...
-- Adds the next images of a manifest to the lane. Compare-and-set on `fed`: if two workers top up at once, each image
-- is added once. Afterwards the script checks again whether a top-up is needed, before it removes the duty's record: a
-- claim in between found the record and added none.
local duty, lease, id, expected, window, offset = unpack(ARGV, 1, 6)
local job = as_table(redis.call('HGETALL', job_key(id)))
if active(job.state) and job.fed == expected then
  feed(id, job.model, job.lane, tonumber(expected), offset, 7)
  job = as_table(redis.call('HGETALL', job_key(id)))
end
local need = active(job.state) and tonumber(job.fed) < tonumber(job.total)
  and runs_low(id, job.waiting, window)
if need and #ARGV < 7 then return 0 end -- the manifest gave no image: try again after the lease, not at once
if need then
  redis.call('ZADD', 'sl:due', fmt(urgent()), duty)
else
  end_duty(duty, lease)
end
return 1
