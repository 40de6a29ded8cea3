-- Writes down what became of a parcel or job that was taken up, if it is still leased to who writes.
-- KEYS   1 due, 2 leases, 3 parcels
-- ARGV   1 what it is, 2 when the lease ends, 3 when it ends from now on ("" to give it back), 4 when it is due next
--        ("" for never more), 5 a parcel's record ("" to leave it, "-" to forget it)
-- Reply  1, or 0 if the lease was lost
if redis.call('ZSCORE', KEYS[2], ARGV[1]) ~= ARGV[2] then
  return 0
end
if ARGV[5] == '-' then
  redis.call('HDEL', KEYS[3], string.sub(ARGV[1], 3))
elseif ARGV[5] ~= '' then
  redis.call('HSET', KEYS[3], string.sub(ARGV[1], 3), ARGV[5])
end
if ARGV[3] ~= '' then
  redis.call('ZADD', KEYS[2], ARGV[3], ARGV[1])
else
  redis.call('ZREM', KEYS[2], ARGV[1])
  if ARGV[4] ~= '' then
    redis.call('ZADD', KEYS[1], ARGV[4], ARGV[1])
  end
end
return 1
