-- requires: constants, lanes
-- ARGV: consumer, then stream, entry, stream, entry, ... Answers those that are no longer the consumer's, as
-- "stream entry". XCLAIM alone would steal back what another has taken over, hence the look at XPENDING.
local lost = {}
for i = 2, #ARGV, 2 do
  if is_mine(ARGV[i], ARGV[i + 1], ARGV[1]) then
    redis.call('XCLAIM', ARGV[i], GROUP, ARGV[1], 0, ARGV[i + 1], 'JUSTID')
  else
    lost[#lost + 1] = ARGV[i] .. ' ' .. ARGV[i + 1]
  end
end
return lost
