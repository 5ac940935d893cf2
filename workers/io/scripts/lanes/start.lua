-- requires: values, keys, lanes, endings
-- ARGV: consumer, then stream, entry, job, index, attempt, starts that the claim told, ... Counts that the processing of
-- each image begins; see "poison" in the design. Set, not incremented: sent twice it counts once. Answers "stream entry"
-- of those that are no longer the consumer's, or not to be done any more: a late caller must not raise another's count.
-- An image of a job that was canceled ends here.
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
