-- requires: keys
-- ARGV: index, newest and oldest score, the id after which the page begins or '', how many jobs to return and how many
-- to look at, at most, state or '', model or ''.
-- Lists jobs of an index by time, newest first. Returns the matching jobs, each as id and hash, then where the next
-- page begins: score and id of the last job that was looked at. These two are missing if the index was read to its end.
local index, newest, oldest, after, limit, max_looks, state, model = unpack(ARGV)
local first = string.match(newest, '^%(?(.*)$')
local jobs, looks, offset = {}, 0, 0
while true do
  local rows = redis.call('ZREVRANGEBYSCORE', index, newest, oldest, 'WITHSCORES', 'LIMIT', offset, 100)
  if #rows == 0 then return { jobs } end
  for i = 1, #rows, 2 do
    local id, score = rows[i], rows[i + 1]
    if after == '' or score ~= first or id < after then
      looks = looks + 1
      local job = redis.call('HMGET', job_key(id), 'state', 'model')
      if job[1] and (state == '' or job[1] == state) and (model == '' or string.match(job[2], '^[^@]+') == model) then
        jobs[#jobs + 1] = { id, redis.call('HGETALL', job_key(id)) }
      end
      if #jobs == tonumber(limit) or looks == tonumber(max_looks) then return { jobs, score, id } end
    end
  end
  offset = offset + 100
end
