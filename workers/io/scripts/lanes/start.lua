-- requires: values, keys, lanes, endings
-- ARGV: consumer, then for each image: stream, entry, job, index, attempt, start count when it was claimed.
-- Counts that a worker begins to process each image: after three deaths of a worker the image fails. The count is set
-- and not incremented, so that a script that is sent twice counts once.
-- Returns, as "stream entry", the images that are no longer the consumer's or need no result any more: a late caller
-- must not raise another worker's count. A claimed image of a canceled job is given up here.
local lost = {}
for i = 2, #ARGV, 6 do
  local stream, entry_id, id, index, attempt, starts = unpack(ARGV, i, i + 5)
  local entry, mine = { job = id, index = index, attempt = attempt }, is_mine(stream, entry_id, ARGV[1])
  if mine and live(entry) then
    redis.call('HSET', items_key(id), 'starts:' .. index, fmt(tonumber(starts) + 1))
  else
    if mine and counts(entry) then
      give_up(entry)
      drop_entry(stream, entry_id)
    end
    lost[#lost + 1] = stream .. ' ' .. entry_id
  end
end
return lost
