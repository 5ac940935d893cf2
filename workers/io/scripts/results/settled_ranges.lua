-- requires: constants, values, keys, states
-- ARGV: job, 'first' or 'all', how many segments and images to look at, at most, then half-open ranges of images in
-- ascending order: from, to, ...
-- Returns which of these images have their result, as ranges of the same form, and the index at which it reached that
-- limit, or -1 if it did not. 'first' stops at the first image without a result. Returns nil if the job is gone.
local id, which, max_looks = ARGV[1], ARGV[2], tonumber(ARGV[3])
local job = redis.call('HMGET', job_key(id), 'state', 'total')
if not job[1] then return nil end
local over, total = not open(job[1]) and job[1] ~= 'finishing', tonumber(job[2])
local ranges, looks = {}, 0

local function add(from, to)
  if ranges[#ranges] == from then ranges[#ranges] = to else
    ranges[#ranges + 1] = from
    ranges[#ranges + 1] = to
  end
end

for i = 4, #ARGV, 2 do
  local index, to = tonumber(ARGV[i]), tonumber(ARGV[i + 1])
  while index < to do
    if looks >= max_looks then return { ranges, index } end
    local key, number = segment_key(id, index), math.floor(index / SEGMENT)
    local stop = math.min(to, (number + 1) * SEGMENT)
    local count = redis.call('HLEN', key)
    local whole = over or count == math.min(SEGMENT, total - number * SEGMENT)
      or redis.call('HEXISTS', items_key(id), 'sealed:' .. fmt(number)) == 1
    looks = looks + 1
    if whole then
      add(index, stop)
    elseif count == 0 then
      if which == 'first' then return { ranges, -1 } end
    else
      for image = index, stop - 1 do
        if redis.call('HEXISTS', key, fmt(image)) == 1 then
          add(image, image + 1)
        elseif which == 'first' then
          return { ranges, -1 }
        end
      end
      looks = looks + stop - index
    end
    index = stop
  end
end
return { ranges, -1 }
