-- Binds lines to a new parcel, and takes them off the queue. One that has gone on meanwhile keeps its entry: it may be that
-- of somebody who is at it, and by it the line is found should they die.
-- KEYS   1 queue, 2 due, 3 parcels, 4 the parcel's manifest; then the lines of each job
-- ARGV   1 parcel id, 2 its record, 3 ms at which it is due; then for each line: number of its job, number, guard that must
--        stand now, value, its part of the manifest, its entry in the queue
-- Reply  how many lines were bound; without any there is no parcel
local bound = 0
for i = 4, #ARGV, 6 do
  local lines = KEYS[4 + tonumber(ARGV[i])]
  local stands = redis.call('HGET', lines, ARGV[i + 1])
  if stands and string.match(stands, '^([^\n]*)\n') == ARGV[i + 2] then
    redis.call('HSET', lines, ARGV[i + 1], ARGV[i + 3])
    redis.call('RPUSH', KEYS[4], ARGV[i + 4])
    bound = bound + 1
    redis.call('XACK', KEYS[1], 'b', ARGV[i + 5])
    redis.call('XDEL', KEYS[1], ARGV[i + 5])
  end
end
if bound > 0 then
  redis.call('HSET', KEYS[3], ARGV[1], ARGV[2])
  redis.call('ZADD', KEYS[2], ARGV[3], 'p:' .. ARGV[1])
end
return bound
