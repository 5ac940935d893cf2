#!lua flags=allow-oom
-- requires: duties
-- ARGV: duty, lease.
-- Removes the record of a duty that is done, unless the need for it was renewed meanwhile.
end_duty(ARGV[1], ARGV[2])
