-- What the store has of one hour of a tenant, at one instant.
-- KEYS   1 the archive's record, 2 the hour's stream of rows, 3 its cube, 4 its packed cube
-- ARGV   1 YYYYMMDDHH, 2 whether the cube is wanted: 1 or 0
-- Reply  what is archived ('' for nothing), the part under way ('' for none), 1 if the cube was dropped, the stream's
--        length, its last id ('' if empty), the cube as fields and values,
--        the packed cube ('' for none)
local last = redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)
return {
  redis.call('HGET', KEYS[1], ARGV[1]) or '',
  redis.call('HGET', KEYS[1], ARGV[1] .. '?') or '',
  redis.call('HEXISTS', KEYS[1], ARGV[1] .. '!'),
  redis.call('XLEN', KEYS[2]),
  last[1] and last[1][1] or '',
  ARGV[2] == '1' and redis.call('HGETALL', KEYS[3]) or {},
  ARGV[2] == '1' and redis.call('GET', KEYS[4]) or '',
}
