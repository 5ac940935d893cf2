-- The states of a job, and the message that a job changed.

-- Whether images of the job may still be claimed; and whether results of those that were claimed still count.
local function active(state) return state == 'queued' or state == 'running' end

local function open(state) return active(state) or state == 'canceling' end

-- Tells those who follow a job that there is something new: its state, its counts, a result.
local function changed(id) redis.call('PUBLISH', 'sl:changed', id) end
