-- ARGV: duty, lease, upload. From here on no job can be made of the upload, so its blobs may go.
if redis.call('ZREM', 'sl:due', ARGV[1]) == 1 then add_due('purge:uploads/' .. ARGV[3], now_ms()) end
