-- requires: constants, lanes
-- ARGV: consumer, then stream, entry, stream, entry, ...
-- Renews the leases of a consumer's entries. Returns those that are no longer the consumer's, as "stream entry". It
-- looks at XPENDING first, since XCLAIM alone would steal back an entry that another worker has taken over.
local lost = {}
for i = 2, #ARGV, 2 do
  if is_mine(ARGV[i], ARGV[i + 1], ARGV[1]) then
    redis.call('XCLAIM', ARGV[i], GROUP, ARGV[1], 0, ARGV[i + 1], 'JUSTID')
  else
    lost[#lost + 1] = ARGV[i] .. ' ' .. ARGV[i + 1]
  end
end
return lost
