-- One worker's exchange on circuit breakers: tells what it counted, changes states that are still as it knew them, and
-- hears the fleet's states and counts.
-- KEYS   1 states, 2 counts of this slice of time, 3 counts of the slice before
-- ARGV   1 ms to keep a slice, 2 count of changes; for each: way, state expected ("" for none), new state ("" for none);
--        then for each count: field, increment
-- Reply  the store's time in ms, the states, the counts of both slices (flat, as HGETALL gives them)
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local at = 3
for _ = 1, tonumber(ARGV[2]) do
  if (redis.call('HGET', KEYS[1], ARGV[at]) or '') == ARGV[at + 1] then
    if ARGV[at + 2] == '' then
      redis.call('HDEL', KEYS[1], ARGV[at])
    else
      redis.call('HSET', KEYS[1], ARGV[at], ARGV[at + 2])
    end
  end
  at = at + 3
end
if at <= #ARGV then
  for i = at, #ARGV, 2 do
    redis.call('HINCRBY', KEYS[2], ARGV[i], ARGV[i + 1])
  end
  redis.call('PEXPIRE', KEYS[2], ARGV[1])
end
return {now, redis.call('HGETALL', KEYS[1]), redis.call('HGETALL', KEYS[2]), redis.call('HGETALL', KEYS[3])}
