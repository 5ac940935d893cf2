-- requires: constants, values, keys
-- How scripts that change a job have its webhooks delivered.

-- The hooks of a job, numbered from 0: each is one webhook, and how far it was delivered.
local function hook_key(id, n) return 'sl:job:' .. id .. ':hook:' .. n end

local function wants(events, event) return string.find(',' .. events .. ',', ',' .. event .. ',', 1, true) ~= nil end

-- Has senders look at a job's hooks after an event, see lib/outbox.lua. Call it in the script that makes the event
-- happen, so that no event is sent early or lost.
local function tell(id, event)
  local now = now_ms()
  for n = 0, tonumber(redis.call('HGET', job_key(id), 'hooks') or '0') - 1 do
    local hook, at = redis.call('HMGET', hook_key(id, n), 'line', 'events', 'progress_at', 'ended'), nil
    if event == 'job.finished' or wants(hook[2], event) then
      at = now
    elseif event == 'item.finished' and wants(hook[2], 'job.progress') then
      at = math.max(now, tonumber(hook[3] or '0') + PROGRESS_MS)
    end
    if at and not hook[4] then
      redis.call('ZADD', 'sl:line:' .. hook[1] .. ':todo', 'LT', fmt(at), id .. ' ' .. n)
      redis.call('ZADD', 'sl:due:webhooks', 'LT', fmt(at), hook[1])
    end
  end
end
