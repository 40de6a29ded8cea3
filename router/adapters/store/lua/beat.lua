-- Writes down, in the store's time, that journals have somebody who looks after them, or that they are closed.
-- KEYS   1 journals
-- ARGV   1 '' for alive or '-' for closed; then the journals
-- Reply  the store's time in ms
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
for i = 2, #ARGV do
  redis.call('HSET', KEYS[1], ARGV[i], ARGV[1] .. string.format('%.0f', now))
end
return now
