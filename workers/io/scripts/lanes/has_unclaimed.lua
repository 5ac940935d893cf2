-- requires: keys, lanes
-- ARGV: model, lane. Whether an image waits there that nobody has claimed. Writes nothing, so it costs no sync.
return unclaimed(stream_key(ARGV[1], ARGV[2])) and 1 or 0
