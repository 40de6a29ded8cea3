-- Books one numbered batch of a tenant: rows, the spend cube, and the end of the rows' holds; or does nothing.
-- KEYS   1 applied, 2 holds, 3 hours; then for each hour of the batch: its stream of rows, its cube
-- ARGV   1 journal, 2 its first and last number in this batch ("7:12"), 3 count of holds to end, the attempts;
--        then for each hour: YYYYMMDDHH, count of rows, the rows, count of cube cells, (field, increment) each
-- Reply  the store's time in ms, 1 if booked now, 0 if it had been booked before, or 2 if it must be cut anew: only
--        part of it is booked (by who adopted the journal), or the journal was swept ("12~"; see fence.lua)
-- A batch that comes again after a lost reply or a lost connection has its last number at or below the mark. The mark
-- is set first: what fails half-way (scripts do not roll back) must not be booked twice, so its sender reports it instead.
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local mark = redis.call('HGET', KEYS[1], ARGV[1])
local first, last_number = string.match(ARGV[2], '(%d+):(%d+)')
if mark then
  local booked = tonumber(mark)
  if booked and tonumber(last_number) <= booked then
    return {now, 0}
  elseif not booked or tonumber(first) <= booked then
    return {now, 2}
  end
end
redis.call('HSET', KEYS[1], ARGV[1], last_number)
local at, ends = 4, tonumber(ARGV[3])
if ends > 0 then
  redis.call('HDEL', KEYS[2], unpack(ARGV, at, at + ends - 1))
  at = at + ends
end
for k = 4, #KEYS, 2 do
  redis.call('ZADD', KEYS[3], ARGV[at], ARGV[at])
  local last = at + 1 + tonumber(ARGV[at + 1])
  for i = at + 2, last do
    redis.call('XADD', KEYS[k], '*', 'r', ARGV[i])
  end
  at = last + 2
  last = last + 1 + 2 * tonumber(ARGV[last + 1])
  for i = at, last, 2 do
    redis.call('HINCRBY', KEYS[k + 1], ARGV[i], ARGV[i + 1])
  end
  at = last + 1
end
return {now, 1}
