-- Fixes which rows of an hour the next part of the archive holds: those that are there now. Whoever asks while a part
-- is under way is given that part, so that any number of archivers write the same rows under the same name.
-- KEYS   1 the archive's record, 2 the hour's stream of rows
-- ARGV   1 YYYYMMDDHH, 2 the number of the part
-- Reply  the part under way, 'number:last id:count of rows', or '' if there is no row to archive
local field = ARGV[1] .. '?'
local pending = redis.call('HGET', KEYS[1], field)
if pending then
  return pending
end
local last = redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)
if not last[1] then
  return ''
end
pending = ARGV[2] .. ':' .. last[1][1] .. ':' .. redis.call('XLEN', KEYS[2])
redis.call('HSET', KEYS[1], field, pending)
return pending
