-- Constants of several scripts.

local GROUP = 'workers'
local SEGMENT = 1000
local PROGRESS_MS = 5000
local ATTENDED_SECONDS = 25 -- also in workers/health.py
local AHEAD_MS = 1e12
