-- Returns the eviction policy: what Redis does when its memory is full.
return string.match(redis.call('INFO', 'memory'), 'maxmemory_policy:(%S+)')
