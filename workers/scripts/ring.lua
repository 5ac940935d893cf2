-- ARGV: model, Celery queue, for how many ms a ring may be under way. Answers whether to ring now.
-- Not while one for the model is under way; nor where as many rings as there are models wait: nobody takes them up, and
-- they would only pile up. The sweep rings when somebody does.
local model, queue, ms = unpack(ARGV)
if redis.call('LLEN', queue) >= math.max(1, redis.call('SCARD', 'sl:models')) then return 0 end
return redis.call('SET', 'sl:ring:' .. model, '1', 'NX', 'PX', ms) and 1 or 0
