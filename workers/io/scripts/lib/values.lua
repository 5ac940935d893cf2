-- Values: numbers, times and lists in the form that Redis and JSON need.

-- Writes a number as an integer: Lua would write 1.7e+12 for a time in milliseconds.
local function fmt(number) return string.format('%.0f', number) end

local function now_ms()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

local function as_table(flat)
  local result = {}
  for i = 1, #flat, 2 do result[flat[i]] = flat[i + 1] end
  return result
end

local function as_json(list)
  if #list == 0 then return '[]' end -- cjson writes an empty table as an object
  return cjson.encode(list)
end
