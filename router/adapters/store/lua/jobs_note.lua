-- Writes something down of a job, unless it has been deleted: a note that comes late must not bring half a job back.
-- KEYS   1 job
-- ARGV   1 HSET or HINCRBY; its arguments behind the key
-- Reply  the command's, or 0
if redis.call('HEXISTS', KEYS[1], 'record') == 0 then
  return 0
end
return redis.call(ARGV[1], KEYS[1], unpack(ARGV, 2))
