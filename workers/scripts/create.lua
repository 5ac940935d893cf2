-- ARGV: job, options, model, lane, total, upload, offset, then the first window's name, ref, name, ref, ...
-- Answers the job (also where it exists already: the script was sent twice), or nothing where its upload was given up.
local id, options, model, lane, total, upload, offset = unpack(ARGV, 1, 7)
if redis.call('EXISTS', job_key(id)) == 1 then return redis.call('HGETALL', job_key(id)) end
if upload ~= '' and redis.call('ZREM', 'sl:due', 'upload:' .. upload) == 0 then return nil end
local now = now_ms()
redis.call('HSET', job_key(id), 'options', options, 'model', model, 'lane', lane, 'state', 'queued',
  'total', total, 'queued', total, 'running', 0, 'succeeded', 0, 'failed', 0, 'canceled', 0,
  'waiting', 0, 'fed', 0, 'fed_offset', 0, 'upload', upload, 'created_at', fmt(now))
redis.call('ZADD', 'sl:jobs', fmt(now), id)
redis.call('SADD', 'sl:models', model)
redis.call('ZREM', 'sl:due', 'purge:jobs/' .. id)
feed(id, model, lane, 0, offset, 8)
return redis.call('HGETALL', job_key(id))
