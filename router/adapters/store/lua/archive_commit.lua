-- Takes the rows of an archived part out of the stream, once, after the part has been written and verified.
-- The cube, too, becomes small: its sums so far are kept packed, unless rows have come that they do not have.
-- KEYS   1 the archive's record, 2 the hour's stream of rows, 3 its cube, 4 its packed cube
-- ARGV   1 YYYYMMDDHH, 2 the part under way as `archive_begin` told it, 3 its last id, 4 the id after that,
--        5 the hour's new record, 6 the cube's and the packed cube's sums, packed ('' for leaving both as they are)
-- Reply  1 if committed now, 0 if somebody else has done so
local field = ARGV[1] .. '?'
if redis.call('HGET', KEYS[1], field) ~= ARGV[2] then
  return 0
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[5])
redis.call('HDEL', KEYS[1], field)
local last = redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)
if last[1] and last[1][1] == ARGV[3] then
  -- Freed by a thread of the store: a million rows would hold everybody up.
  redis.call('UNLINK', KEYS[2])
  if ARGV[6] ~= '' then
    redis.call('SET', KEYS[4], ARGV[6])
    redis.call('UNLINK', KEYS[3])
  end
else
  redis.call('XTRIM', KEYS[2], 'MINID', ARGV[4])
end
return 1
