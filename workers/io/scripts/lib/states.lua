-- The states of a job, and the message that a job changed.

-- Return whether images of the job may still be claimed (active), or results of claimed images still count (open).
local function active(state) return state == 'queued' or state == 'running' end

local function open(state) return active(state) or state == 'canceling' end

-- Tells callers that follow a job that its state, its counts or its results changed.
local function changed(id) redis.call('PUBLISH', 'sl:changed', id) end
