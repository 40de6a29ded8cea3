-- Hands what is held for one attempt on to the next one of the same line; what is held stays the same.
-- KEYS   1 holds
-- ARGV   for each: the attempt that ends, the attempt that begins
-- Reply  how many were handed on
local count = 0
for i = 1, #ARGV, 2 do
  local hold = redis.call('HGET', KEYS[1], ARGV[i])
  if hold then
    redis.call('HSETNX', KEYS[1], ARGV[i + 1], hold)
    redis.call('HDEL', KEYS[1], ARGV[i])
    count = count + 1
  end
end
return count
