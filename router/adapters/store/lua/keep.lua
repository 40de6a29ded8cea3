-- Keeps a sealed answer for its time, and no more bytes of a tenant's answers than allowed: those that end first go first.
-- KEYS   1 the answer's entry, 2 the tenant's answers by their end, 3 the sum of their bytes
-- ARGV   1 token of the claim it ends, empty where there was none, 2 the answer, 3 ms for which it is kept, 4 most bytes
-- Reply  1 if it is kept, 0 if the claim is no longer its own
-- An answer's own bytes count, and 300 for what lies around them.
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
if ARGV[1] ~= '' and redis.call('HGET', KEYS[1], 'o') ~= ARGV[1] then
  return 0
end
local function drop(member)
  redis.call('ZREM', KEYS[2], member)
  redis.call('DECRBY', KEYS[3], string.match(member, '^%d+'))
end
for _, member in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now, 'LIMIT', 0, 100)) do
  drop(member)
end
local size, most = #ARGV[2] + 300, tonumber(ARGV[4])
local sum = tonumber(redis.call('GET', KEYS[3]) or '0')
while sum + size > most do
  local first = redis.call('ZRANGE', KEYS[2], 0, 0)[1]
  if not first then
    break
  end
  redis.call('DEL', string.match(first, '^%d+:(.*)$'))
  drop(first)
  sum = tonumber(redis.call('GET', KEYS[3]) or '0')
end
local known = redis.call('HGET', KEYS[1], 's')
if known then
  drop(known .. ':' .. KEYS[1])
end
redis.call('HDEL', KEYS[1], 'o', 'u')
redis.call('HSET', KEYS[1], 'a', ARGV[2], 's', size)
redis.call('PEXPIRE', KEYS[1], ARGV[3])
redis.call('ZADD', KEYS[2], string.format('%.0f', now + ARGV[3]), size .. ':' .. KEYS[1])
redis.call('INCRBY', KEYS[3], size)
redis.call('PEXPIRE', KEYS[2], 2678400000)
redis.call('PEXPIRE', KEYS[3], 2678400000)
return 1
