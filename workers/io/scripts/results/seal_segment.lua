#!lua flags=allow-oom
-- requires: constants, keys, states, duties
-- ARGV: job, number of the segment.
-- Deletes the results of a segment from Redis, since they are in the blob store now. If the job was deleted meanwhile,
-- the deletion of what was written to the blob store is made due.
local id, number = unpack(ARGV)
local state = redis.call('HGET', job_key(id), 'state')
if not state then
  need_again('purge:jobs/' .. id)
elseif open(state) or state == 'finishing' then
  redis.call('HSET', items_key(id), 'sealed:' .. number, 1)
  redis.call('UNLINK', segment_key(id, tonumber(number) * SEGMENT))
end
