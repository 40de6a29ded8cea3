-- Gives a claim up, if it is still one's own: whoever asks next with the key is served anew.
-- KEYS   1 the key's entry
-- ARGV   1 token of the claim
-- Reply  1 if it was
if redis.call('HGET', KEYS[1], 'o') ~= ARGV[1] then
  return 0
end
return redis.call('DEL', KEYS[1])
