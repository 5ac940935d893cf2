-- requires: constants, values, keys, states
-- ARGV: job, 'first' or 'all', how much to look at most, then half-open ranges of images in ascending order: from, to,
-- ...
-- Returns which of these images have their result, as ranges of the same form, and the index at which it ran into that
-- limit, or -1 if it did not. 'first' stops at the first image without a result. Returns nil if the job is gone.
local id, which, most = ARGV[1], ARGV[2], tonumber(ARGV[3])
local job = redis.call('HMGET', job_key(id), 'state', 'total')
if not job[1] then return nil end
local over, total = not open(job[1]) and job[1] ~= 'finishing', tonumber(job[2])
local found, looked = {}, 0

local function add(from, to)
  if found[#found] == from then found[#found] = to else
    found[#found + 1] = from
    found[#found + 1] = to
  end
end

for i = 4, #ARGV, 2 do
  local index, to = tonumber(ARGV[i]), tonumber(ARGV[i + 1])
  while index < to do
    if looked >= most then return { found, index } end
    local key, number = segment_key(id, index), math.floor(index / SEGMENT)
    local behind = math.min(to, (number + 1) * SEGMENT)
    local count = redis.call('HLEN', key)
    local whole = over or count == math.min(SEGMENT, total - number * SEGMENT)
      or redis.call('HEXISTS', items_key(id), 'sealed:' .. fmt(number)) == 1
    looked = looked + 1
    if whole then
      add(index, behind)
    elseif count == 0 then
      if which == 'first' then return { found, -1 } end
    else
      for one = index, behind - 1 do
        if redis.call('HEXISTS', key, fmt(one)) == 1 then
          add(one, one + 1)
        elseif which == 'first' then
          return { found, -1 }
        end
      end
      looked = looked + behind - index
    end
    index = behind
  end
end
return { found, -1 }
