-- requires: constants, values, keys, lanes, endings
-- ARGV: target, consumer, lease in ms, maximum of rows, then the entries that the caller has in flight ("stream entry").
-- Takes over images whose lease nobody renewed. The last image may exceed the number of rows. An image that was started
-- before is taken over alone, since it may be what killed its worker.
local model, consumer, lease, max_rows = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
if just_back(lease) then return '[]' end
local in_flight = {}
for i = 5, #ARGV do in_flight[ARGV[i]] = true end
local items, rows, alone = {}, 0, false
for _, lane in ipairs({ 'interactive', 'bulk' }) do
  local stream = stream_key(model, lane)
  for _, row in ipairs(abandoned(stream, lease, 64)) do
    if alone or rows >= max_rows then break end
    local entry_id = row[1]
    local entry_row = redis.call('XRANGE', stream, entry_id, entry_id)[1]
    if not entry_row then
      redis.call('XACK', stream, GROUP, entry_id)
    elseif not in_flight[stream .. ' ' .. entry_id] then
      local entry = as_table(entry_row[2])
      if not live(entry) then
        if counts(entry) then give_up(entry) end
        drop_entry(stream, entry_id)
      else
        local item = describe(stream, entry_id, entry)
        if item.starts == 0 or #items == 0 then
          redis.call('XCLAIM', stream, GROUP, consumer, 0, entry_id, 'JUSTID')
          items[#items + 1] = item
          rows = rows + item.rows
          alone = item.starts > 0
        end
      end
    end
  end
end
if #items > 0 then attend(model) end
return as_json(items)
