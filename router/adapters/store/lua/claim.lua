-- Claims a caller's idempotency key for one request, or says what has become of the request that has it.
-- KEYS   1 the key's entry
-- ARGV   1 digest of the request, 2 token of whoever asks, 3 ms for which the claim holds if it is not renewed
-- Reply  "mine" (the claim holds, or was renewed), "running" (another request is at it), "other" (the key belongs to another
--        request), or "done" and the sealed answer, which is empty where it was not kept
-- A claim ends by itself, so that a worker that dies leaves the key to the next who asks.
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local found = redis.call('HMGET', KEYS[1], 'f', 'o', 'u', 'a')
if found[1] and found[1] ~= ARGV[1] then
  return {'other'}
end
if found[4] then
  return {'done', found[4]}
end
if found[2] and found[2] ~= ARGV[2] and tonumber(found[3]) > now then
  return {'running'}
end
redis.call('HSET', KEYS[1], 'f', ARGV[1], 'o', ARGV[2], 'u', string.format('%.0f', now + ARGV[3]))
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return {'mine'}
