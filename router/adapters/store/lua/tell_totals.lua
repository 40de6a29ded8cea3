-- Tells a worker's totals, stamped with the store's time; or, if it was taken for dead meanwhile, what was buried of it.
-- KEYS   1 totals, 2 this worker's grave
-- ARGV   1 the worker, 2 its totals
-- Reply  nil if told; else the totals that already lie in the base, as `replace_totals` found them
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 then
  local buried = redis.call('GET', KEYS[2])
  if buried then
    return buried
  end
end
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f:', now) .. ARGV[2])
return false
