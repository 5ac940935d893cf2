#!lua flags=allow-oom
-- requires: constants, values, keys, states, duties, webhooks, account
-- ARGV: job, how many deleted jobs are remembered, 'any' or 'over'.
-- Deletes everything of a job from Redis, and makes the deletion of its blobs due. With 'over' it deletes only a job in
-- a terminal state. Returns the state that the job had, or nil if there is no such job.
local id, remembered, which = unpack(ARGV)
local key = job_key(id)
local job = as_table(redis.call('HGETALL', key))
if not job.state then return nil end
if which == 'over' and (open(job.state) or job.state == 'finishing' or job.state == 'enumerating') then return job.state end
account(id, -tonumber(job.queued) - tonumber(job.running))
count_open('bytes', -tonumber(job.bytes))
if job.owner ~= '' then count_open('bytes:' .. job.owner, -tonumber(job.bytes)) end
redis.call('ZREM', 'sl:jobs', id)
redis.call('ZREM', owner_key(job.owner), id)
redis.call('ZREM', active_key(job.model, job.lane), id)
redis.call('ZREM', 'sl:due', 'topup:' .. id, 'finish:' .. id, 'expire:' .. id, 'retire:' .. id)
for index = 0, tonumber(job.total) - 1, SEGMENT do redis.call('UNLINK', segment_key(id, index)) end
for n = 0, tonumber(job.hooks or '0') - 1 do redis.call('UNLINK', hook_key(id, n)) end
redis.call('UNLINK', key, items_key(id), 'sl:job:' .. id .. ':attempts')
redis.call('ZADD', GONE, 0, id .. ' ' .. job.owner)
redis.call('ZREMRANGEBYRANK', GONE, 0, -1 - tonumber(remembered))
add_due('purge:jobs/' .. id, now_ms())
if job.upload ~= '' then add_due('purge:uploads/' .. job.upload, now_ms()) end
redis.call('PUBLISH', 'sl:finished', id)
return job.state
