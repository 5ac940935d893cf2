#!lua flags=allow-oom
-- requires: values, keys, lanes, endings
-- ARGV: consumer, then for each image: stream, entry, started (0|1), fault (0|1), a new reference or ''.
-- Hands images back: puts each at the end of its lane as a new entry, with the new reference if one is given. Returns
-- how many. The attempt goes up, so that a worker that still processes the old entry changes nothing. A start that is
-- handed back was no death of a worker, so it is subtracted again.
local consumer = ARGV[1]
local count = 0
for i = 2, #ARGV, 5 do
  local stream, entry_id, started, fault, ref = unpack(ARGV, i, i + 4)
  local row = redis.call('XRANGE', stream, entry_id, entry_id)[1]
  if row and is_mine(stream, entry_id, consumer) then
    local entry = as_table(row[2])
    local again = live(entry)
    if not again and counts(entry) then give_up(entry) end
    drop_entry(stream, entry_id)
    if again then
      local key, items = job_key(entry.job), items_key(entry.job)
      local attempt = redis.call('HINCRBY', items, 'attempt:' .. entry.index, 1)
      local starts = tonumber(redis.call('HGET', items, 'starts:' .. entry.index) or '0')
      if started == '1' and starts > 0 then redis.call('HINCRBY', items, 'starts:' .. entry.index, -1) end
      redis.call('HINCRBY', key, 'running', -1)
      redis.call('HINCRBY', key, 'queued', 1)
      redis.call('HINCRBY', key, 'waiting', 1)
      add_entry(stream, entry.job, entry.index, fmt(attempt), fmt(tonumber(entry.faults) + tonumber(fault)),
        entry.name, ref ~= '' and ref or entry.ref, entry.custom_id)
      count = count + 1
    end
  end
end
return count
