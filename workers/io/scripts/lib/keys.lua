-- requires: constants, values
-- The names of the keys.

local function job_key(id) return 'sl:job:' .. id end
local function items_key(id) return 'sl:job:' .. id .. ':items' end
local function segment_key(id, index) return 'sl:job:' .. id .. ':seg:' .. fmt(math.floor(index / SEGMENT)) end
local function stream_key(model, lane) return 'sl:lane:' .. model .. ':' .. lane end
local function gone_key(id) return 'sl:gone:' .. id end
local function active_key(model, lane) return 'sl:active:' .. model .. ':' .. lane end
local function owner_key(owner) return 'sl:jobs:' .. owner end
local function rate_key(model) return 'sl:rate:' .. string.match(model, '^[^@]+') end -- all versions share a rate
