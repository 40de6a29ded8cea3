-- Lets a line of a batch with a limit of its own begin, if the limit has room; the same answer however often it is asked.
-- KEYS   1 job, 2 its payloads
-- ARGV   1 line's number, 2 nano-dollars that it is expected to cost, 3 the limit
-- Reply  1 and what is spent or under way without it, or 0 and the same; 0 and 0 of a job that has been deleted
-- What a line was expected to cost counts until it has ended (jobs_turn); what was booked counts from then on.
local counted = redis.call('HMGET', KEYS[1], 'cost', 'begun', 'record')
if not counted[3] then
  return {0, 0}
end
local sum = tonumber(counted[1] or '0') + tonumber(counted[2] or '0')
if redis.call('HEXISTS', KEYS[2], 'b' .. ARGV[1]) == 1 then
  return {1, sum}
end
if sum + tonumber(ARGV[2]) > tonumber(ARGV[3]) then
  return {0, sum}
end
redis.call('HSET', KEYS[2], 'b' .. ARGV[1], ARGV[2])
redis.call('HINCRBY', KEYS[1], 'begun', ARGV[2])
return {1, sum}
