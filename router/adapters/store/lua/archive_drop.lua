-- Lets go of an old hour's cube, if all of its rows lie in the archive; reports then read those.
-- KEYS   1 the archive's record, 2 the hour's stream of rows, 3 its cube, 4 its packed cube
-- ARGV   1 YYYYMMDDHH
-- Reply  1 if dropped, 0 if rows are still in the store or nothing was archived
if redis.call('EXISTS', KEYS[2]) == 1 or redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0
    or redis.call('HEXISTS', KEYS[1], ARGV[1] .. '?') == 1 then
  return 0
end
redis.call('HSET', KEYS[1], ARGV[1] .. '!', '1')
redis.call('UNLINK', KEYS[3], KEYS[4])
return 1
