-- requires: duties
-- ARGV: duty, lease.
end_duty(ARGV[1], ARGV[2])
