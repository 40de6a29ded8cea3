-- Sets aside money for a group of attempts of one tenant, each on its own terms.
-- KEYS   1 holds
-- ARGV   1 worker; then for each hold: attempt, amount in nano-dollars, last store time in ms at which it may start
-- Reply  the store's time in ms, then the 0-based number of every hold that came too late
-- Amounts travel as text: a Lua number prints 14 digits, an amount may have more.
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local stamp = string.format(':%.0f:', now) .. ARGV[1]
local reply, fields = {now}, {}
for i = 2, #ARGV, 3 do
  if tonumber(ARGV[i + 2]) < now then
    reply[#reply + 1] = (i - 2) / 3
  else
    fields[#fields + 1] = ARGV[i]
    fields[#fields + 1] = ARGV[i + 1] .. stamp
  end
end
if #fields > 0 then
  redis.call('HSET', KEYS[1], unpack(fields))
end
return reply
