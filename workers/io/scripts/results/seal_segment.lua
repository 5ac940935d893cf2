-- requires: constants, keys, states, duties
-- ARGV: job, number of the segment. Its results are in the blob store now and leave Redis. Where the job was deleted
-- meanwhile, what was written for it has to go again.
local id, number = unpack(ARGV)
local state = redis.call('HGET', job_key(id), 'state')
if not state then
  need_again('purge:jobs/' .. id)
elseif open(state) or state == 'finishing' then
  redis.call('HSET', items_key(id), 'sealed:' .. number, 1)
  redis.call('UNLINK', segment_key(id, tonumber(number) * SEGMENT))
end
