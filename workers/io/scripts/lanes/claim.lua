-- requires: constants, values, keys, states, duties, webhooks, lanes
-- ARGV: target, consumer, the maximum of rows of the interactive lane and of both lanes, how many of these are kept for
-- the bulk lane if it has work, window in rows.
-- Claims images. An image makes one row or more, so the last image may exceed the limit.
-- Returns JSON: the images (items), whether a duty became due (due), and whether unclaimed images may be left (more).
-- If `more` is true without any items, the script stopped after LOOKS images that need no result any more.
local LOOKS = 500 -- maximum of entries to look at in one run, since Redis does nothing else meanwhile
local model, consumer = ARGV[1], ARGV[2]
local max_interactive, max_rows = tonumber(ARGV[3]), tonumber(ARGV[4])
local kept_for_bulk, window = tonumber(ARGV[5]), tonumber(ARGV[6])
local items, rows, looks, due, more = {}, 0, 0, false, false

-- Counts that an image of the job no longer waits in its lane. Returns whether a top-up became due.
local function taken_from(id)
  if redis.call('EXISTS', job_key(id)) == 0 then return false end
  local waiting = redis.call('HINCRBY', job_key(id), 'waiting', -1)
  local job = redis.call('HMGET', job_key(id), 'fed', 'total')
  return tonumber(job[1]) < tonumber(job[2]) and runs_low(id, waiting, window) and add_due('topup:' .. id, urgent())
end

-- Claims images of a lane until they make `count` rows.
local function take(lane, count)
  local stream, want = stream_key(model, lane), rows + count
  local got = 1
  while rows < want and got > 0 and looks < LOOKS do
    got = 0
    local reply = redis.pcall('XREADGROUP', 'GROUP', GROUP, consumer, 'COUNT', 1, 'STREAMS', stream, '>')
    if reply and not reply.err and reply[1] then -- an error: no job ever used this lane
      for _, row in ipairs(reply[1][2]) do
        got, looks = got + 1, looks + 1
        local entry = as_table(row[2])
        if live(entry) then
          local key = job_key(entry.job)
          redis.call('HINCRBY', key, 'queued', -1)
          redis.call('HINCRBY', key, 'running', 1)
          if redis.call('HGET', key, 'state') == 'queued' then
            redis.call('HSET', key, 'state', 'running', 'started_at', fmt(now_ms()))
            changed(entry.job)
            tell(entry.job, 'job.started')
          end
          items[#items + 1] = describe(stream, row[1], entry)
          rows = rows + items[#items].rows
        else
          drop_entry(stream, row[1])
        end
        due = taken_from(entry.job) or due
      end
    end
  end
  more = more or (count > 0 and rows >= want)
end

take('bulk', kept_for_bulk)
more = false
take('interactive', max_interactive)
take('bulk', math.max(0, max_rows - rows))
more = more or looks >= LOOKS
if #items > 0 then attend(model) end
return '{"items":' .. as_json(items) .. ',"due":' .. tostring(due) .. ',"more":' .. tostring(more) .. '}'
