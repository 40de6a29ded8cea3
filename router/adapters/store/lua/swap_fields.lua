-- Changes fields of a hash in one step, if all of them are as they are thought to be.
-- KEYS   1 the hash
-- ARGV   field, value before ('' for none), value after ('' for none), and again for each further field
-- Reply  1 if changed, 0 if one of them was otherwise
for at = 1, #ARGV, 3 do
  if (redis.call('HGET', KEYS[1], ARGV[at]) or '') ~= ARGV[at + 1] then
    return 0
  end
end
for at = 1, #ARGV, 3 do
  if ARGV[at + 2] == '' then
    redis.call('HDEL', KEYS[1], ARGV[at])
  else
    redis.call('HSET', KEYS[1], ARGV[at], ARGV[at + 2])
  end
end
return 1
