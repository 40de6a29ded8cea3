-- Stops a journal from settling until its owner has asked what was swept meanwhile (unfence.lua).
-- KEYS   1 applied
-- ARGV   1 the field that numbers the journal's sweeps; then the fields of the journal's marks
-- Reply  how many sweeps there were: the next one is booked under the number after it, if no other came between
for i = 2, #ARGV do
  local mark = redis.call('HGET', KEYS[1], ARGV[i]) or '0'
  if tonumber(mark) then
    redis.call('HSET', KEYS[1], ARGV[i], mark .. '~')
  end
end
return tonumber(redis.call('HGET', KEYS[1], ARGV[1]) or '0')
