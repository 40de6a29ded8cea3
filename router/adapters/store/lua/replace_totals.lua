-- Moves a dead worker's totals into the base, if neither has changed since the caller read them. The grave keeps them
-- for a while: a worker that was only asleep must know what has been counted of it.
-- KEYS   1 totals, 2 the worker's grave
-- ARGV   1 the worker, 2 its totals as read; 3 the base's field, 4 the base as read ('' for none), 5 the new base;
--        6 how long the grave stays, in ms
-- Reply  1 if moved, 0 if somebody else was faster
local worker, base = redis.call('HGET', KEYS[1], ARGV[1]), redis.call('HGET', KEYS[1], ARGV[3]) or ''
if worker ~= ARGV[2] or base ~= ARGV[4] then
  return 0
end
redis.call('HSET', KEYS[1], ARGV[3], ARGV[5])
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[6])
return 1
