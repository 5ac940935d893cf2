#!lua flags=allow-oom
-- ARGV: paths in the blob store.
-- Forgets drafts whose blobs were deleted, because no job will be created of them.
for _, path in ipairs(ARGV) do redis.call('ZREM', 'sl:due', 'draft:' .. path) end
