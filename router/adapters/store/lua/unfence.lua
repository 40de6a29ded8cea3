-- Lets a journal's owner, or who adopted it, settle again after a sweep, and tells how far it has settled and what of it
-- was swept and has had no other row since.
-- KEYS   1 applied, 2 holds, 3 the journal's swept attempts
-- ARGV   1 the mark's field, 2 the field that numbers the journal's sweeps
-- Reply  the mark, then attempt and row of each that was swept
-- What was noted as swept but is still held was never booked: the sweep's number moves on, so it cannot be any more.
-- A note begins with the time of the hold it was made of: a hold of another time was told again by whoever came back.
local mark = redis.call('HGET', KEYS[1], ARGV[1]) or '0'
local number = string.match(mark, '^%d+')
if number ~= mark then
  redis.call('HSET', KEYS[1], ARGV[1], number)
  redis.call('HINCRBY', KEYS[1], ARGV[2], 1)
end
local reply, swept = {number}, redis.call('HGETALL', KEYS[3])
for i = 1, #swept, 2 do
  local hold = redis.call('HGET', KEYS[2], swept[i])
  if hold and string.match(hold, '^%d+:(%d+):') == string.match(swept[i + 1], '^(%d+):') then
    redis.call('HDEL', KEYS[3], swept[i])
  else
    reply[#reply + 1] = swept[i]
    reply[#reply + 1] = swept[i + 1]
  end
end
return reply
