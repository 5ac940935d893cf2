-- Constants of several scripts.

local GROUP = 'workers'
local SEGMENT = 1000
local PROGRESS_MS = 5000
local AHEAD_MS = 1e12
