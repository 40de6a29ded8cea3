-- Books one numbered batch of a tenant: rows, the spend cube, and the end of the rows' holds; or does nothing.
-- KEYS   1 applied, 2 holds, 3 hours; then for each hour of the batch: its stream of rows, its cube
-- ARGV   1 journal, 2 its first and last number in this batch ("7:12"), 3 count of holds to end, the attempts;
--        count of budget periods, (name, increment) each;
--        then for each hour: YYYYMMDDHH, count of rows, the rows, count of cube cells, (field, increment) each;
--        then the attempts that were swept and whose truth this batch books: what was noted of them is forgotten
-- Reply  the store's time in ms, 1 if booked now, 0 if it had been booked before, or 2 if it must be cut anew: only
--        part of it is booked (by who adopted the journal), or the journal was swept ("12~"; see fence.lua);
--        if booked now, what each of the budget periods has spent by now, in their order
-- A batch that comes again after a lost reply or a lost connection has its last number at or below the mark. The mark
-- is set first: what fails half-way (scripts do not roll back) must not be booked twice, so its sender reports it instead.
-- The counters of budget periods lie beside the holds, under the same hash tag: an ended hold says which ones held what.
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
local counters = string.sub(KEYS[2], 1, -6) .. 'budget:'

local function place(name)
  -- The counter of a period, and the bucket if its budget is a rolling one.
  local id, bucket = string.match(name, '^(.*~)(%d+)$')
  if id then
    return counters .. id, bucket
  end
  return counters .. name
end

local freed = {}

local function free(name, amount)
  local sum = (freed[name] or 0) + amount
  if freed[name] and sum > 2 ^ 53 then
    redis.call('HINCRBY', place(name), 'h', string.format('%.0f', -freed[name]))
    sum = amount
  end
  freed[name] = sum
end

local at, ends = 4, tonumber(ARGV[3])
if ends > 0 then
  local alike = {}
  for _, hold in ipairs(redis.call('HMGET', KEYS[2], unpack(ARGV, at, at + ends - 1))) do
    local head, names, _, amounts
    if hold then
      head, names, _, amounts = string.match(hold, '^(%d+)[^\30]*\30([^\30]*)\30([^\30]*)\30?(.*)$')
    end
    if names and names ~= '' then
      if amounts ~= '' then
        local each = string.gmatch(amounts, '[^\31]+')
        for name in string.gmatch(names, '[^\31]+') do
          free(name, tonumber(each()))
        end
      else
        local sum = (alike[names] or 0) + tonumber(head)
        if alike[names] and sum > 2 ^ 53 then
          for name in string.gmatch(names, '[^\31]+') do
            free(name, alike[names])
          end
          sum = tonumber(head)
        end
        alike[names] = sum
      end
    end
  end
  for names, sum in pairs(alike) do
    for name in string.gmatch(names, '[^\31]+') do
      free(name, sum)
    end
  end
  for name, sum in pairs(freed) do
    local key = place(name)
    -- A counter that has had its time is gone, and stays so; one that was made anew since does not hold all of this.
    -- Below zero it would let others pass the limit.
    local less = math.min(sum, tonumber(redis.call('HGET', key, 'h') or '0'))
    if less > 0 then
      redis.call('HINCRBY', key, 'h', string.format('%.0f', -less))
    end
  end
  redis.call('HDEL', KEYS[2], unpack(ARGV, at, at + ends - 1))
  at = at + ends
end
local charged, reply = tonumber(ARGV[at]), {now, 1}
for i = at + 1, at + 2 * charged, 2 do
  local key, bucket = place(ARGV[i])
  if not bucket then
    local fresh = redis.call('EXISTS', key) == 0
    reply[#reply + 1] = redis.call('HINCRBY', key, 's', ARGV[i + 1])
    if fresh and string.sub(key, -2) ~= ':0' then
      redis.call('EXPIRE', key, 34560000)
    end
  else
    local oldest, spent = redis.call('HGET', key, 'o'), 0
    if oldest and tonumber(bucket) >= tonumber(oldest) then
      redis.call('HINCRBY', key, bucket, ARGV[i + 1])
      spent = redis.call('HINCRBY', key, 's', ARGV[i + 1])
    end
    reply[#reply + 1] = spent
  end
end
at = at + 1 + 2 * charged
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
if at <= #ARGV then
  local journal = string.gsub(ARGV[1], '%+$', '')
  redis.call('HDEL', string.sub(KEYS[2], 1, -6) .. 'swept:' .. journal, unpack(ARGV, at))
end
return reply
