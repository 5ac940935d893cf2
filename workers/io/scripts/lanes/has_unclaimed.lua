-- requires: keys, lanes
-- ARGV: target, lane.
-- Returns whether the lane has an unclaimed image. It writes nothing, so it causes no sync of the append-only file.
return unclaimed(stream_key(ARGV[1], ARGV[2])) and 1 or 0
