-- Sets aside money for a group of attempts of one tenant, in their order, each on its own terms and in all its budgets
-- or in none.
-- KEYS   1 holds; then the counter of each budget period that is asked for
-- ARGV   1 worker, 2 count of budget periods;
--        for each: name, limit, first ms, ms after the last, bucket (-1 in a calendar), buckets, ms to keep (0 for ever);
--        count of sets; for each set: count of its periods, (number of the period, 1 if hard else 2) each;
--        for each hold: attempt, amount, amount for statistical budgets, last ms at which it may start, number of its set
--        (0 for none), 1 if it grows, its dimensions, its tokens
--        A limit is a period of another kind: -2 as its bucket for a rate (its first ms is then a bucket's length), -3 for
--        attempts at a time. In a set, 1 and 2 are hard and statistical budgets, 3 rates of requests, 4 of tokens, 5
--        attempts at a time, 0 what this attempt does not add to.
-- Reply  the store's time in ms; then for each refused hold: its 0-based number, why, spent, held. Why: the number of the
--        period without room (the figures are that period's; of a rate, what it counts and the ms until there is room),
--        0 too late, -1 outside of a period, -2 no longer held. Where there are limits, last of all what each period counts
-- A counter is a hash: s spent, h held. Of a rolling budget it holds a field a bucket besides, s is their sum, and o is
-- the oldest bucket that counts. Amounts are at most 2^53, so Lua's numbers are exact as long as there is room.
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local stamp = string.format(':%.0f:', now) .. ARGV[1]
local reply, fields = {now}, {}

local function refresh(key, period)
  -- Buckets that have aged out no longer count.
  local oldest = period.bucket - period.buckets
  local kept = redis.call('HGET', key, 'o')
  if kept and tonumber(kept) >= oldest then
    return
  end
  local all = redis.call('HGETALL', key)
  for i = 1, #all, 2 do
    local bucket = tonumber(all[i])
    if bucket and bucket < oldest then
      redis.call('HDEL', key, all[i])
      redis.call('HINCRBY', key, 's', string.format('%.0f', 0 - tonumber(all[i + 1])))
    end
  end
  redis.call('HSET', key, 'o', string.format('%.0f', oldest))
  redis.call('PEXPIRE', key, period.keep)
end

local at, periods, limited = 3, {}, false
for number = 1, tonumber(ARGV[2]) do
  local key = KEYS[number + 1]
  local period = {
    name = ARGV[at], limit = tonumber(ARGV[at + 1]), bucket = tonumber(ARGV[at + 4]), buckets = tonumber(ARGV[at + 5]),
    keep = ARGV[at + 6], more = 0, key = key,
    open = tonumber(ARGV[at + 2]) <= now and now < tonumber(ARGV[at + 3]),
  }
  if period.bucket < -1 then
    limited, period.open = true, true
    if period.bucket == -2 then
      period.size, period.counts = tonumber(ARGV[at + 2]), 0
      period.bucket = math.floor(now / period.size)
    end
  end
  if period.bucket >= 0 and period.open then
    refresh(key, period)
  end
  local counted = redis.call('HMGET', key, 's', 'h')
  period.fresh = period.bucket < 0 and not counted[1] and not counted[2]
  period.spent, period.held = tonumber(counted[1] or '0'), tonumber(counted[2] or '0')
  periods[number] = period
  at = at + 7
end

local sets = {}
at = at + 1
for number = 1, tonumber(ARGV[at - 1]) do
  local set = {names = {}, held = {}}
  for i = 1, tonumber(ARGV[at]) do
    local period = periods[tonumber(ARGV[at + 2 * i - 1])]
    local kind = ARGV[at + 2 * i]
    set[i] = {period = period, number = ARGV[at + 2 * i - 1], kind = kind}
    if not period.counts then
      set.names[#set.names + 1] = period.name
      set.held[#set.held + 1] = kind
    end
  end
  set.names = table.concat(set.names, '\31')
  sets[number] = set
  at = at + 1 + 2 * #set
end

local function refuse(i, why, spent, held)
  reply[#reply + 1] = (i - at) / 8
  reply[#reply + 1] = why
  reply[#reply + 1] = string.format('%.0f', spent)
  reply[#reply + 1] = string.format('%.0f', held)
end

-- What the hold that is looked at adds to each kind of period.
local adds = {['0'] = 0, ['3'] = 0, ['4'] = 0, ['5'] = 0}

local function without_room(set)
  for j = 1, #set do
    local place = set[j]
    local period, amount = place.period, adds[place.kind]
    if amount > 0 and period.spent + period.held + amount > period.limit then
      return place, amount
    end
  end
end

local function take(set)
  for j = 1, #set do
    local period, amount = set[j].period, adds[set[j].kind]
    if period.counts then
      period.spent, period.counts = period.spent + amount, period.counts + amount
    else
      period.held, period.more = period.held + amount, period.more + amount
    end
  end
end

local function room_in(period, amount)
  -- The ms until enough buckets have aged out; 0 where they never will.
  local all, buckets = redis.call('HGETALL', period.key), {}
  for i = 1, #all, 2 do
    local bucket = tonumber(all[i])
    if bucket then
      buckets[#buckets + 1] = {bucket, tonumber(all[i + 1])}
    end
  end
  table.sort(buckets, function(one, other) return one[1] < other[1] end)
  local over = period.spent + amount - period.limit
  for i = 1, #buckets do
    over = over - buckets[i][2]
    if over <= 0 then
      return (buckets[i][1] + period.buckets + 1) * period.size - now
    end
  end
  return amount > period.limit and 0 or (period.buckets + 1) * period.size
end

local function full(i, place, amount)
  local period = place.period
  refuse(i, tonumber(place.number), period.spent, period.counts and room_in(period, amount) or period.held)
end

local function outside(set)
  for j = 1, #set do
    if not set[j].period.open then
      return true
    end
  end
end

-- The stored value: amount:at:worker, names, dimensions, and where amounts differ, each period's.
local function value(head, set, first, second, dims)
  if #set == 0 and dims == '' then
    return head
  end
  local amounts, mixed = {}, false
  for j = 1, #set.held do
    local kind = set.held[j]
    amounts[j] = kind == '1' and first or kind == '2' and second or '1'
    mixed = mixed or amounts[j] ~= first
  end
  local told = head .. '\30' .. set.names .. '\30' .. dims
  return mixed and told .. '\30' .. table.concat(amounts, '\31') or told
end

local attempts = {}
for i = at, #ARGV, 8 do
  attempts[#attempts + 1] = ARGV[i]
end
-- By name: a call may speak of an attempt twice.
local known = {}
for i, stored in ipairs(#attempts > 0 and redis.call('HMGET', KEYS[1], unpack(attempts)) or {}) do
  known[attempts[i]] = stored
end

local function write(attempt, stored)
  known[attempt] = stored
  fields[#fields + 1] = attempt
  fields[#fields + 1] = stored
end

local none = {names = '', held = {}}
for i = at, #ARGV, 8 do
  local set = sets[tonumber(ARGV[i + 4])] or none
  local hard, statistical = tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2])
  if tonumber(ARGV[i + 3]) < now then
    refuse(i, 0, 0, 0)
  elseif ARGV[i + 5] == '1' then
    -- The stored amounts say how much more it is, so that asking twice changes nothing.
    local stored = known[ARGV[i]]
    if not stored then
      refuse(i, -2, 0, 0)
    else
      local first, rest = string.match(stored, '^(%d+)(:[^\30]*)')
      local had, amounts = tonumber(first), string.match(stored, '^[^\30]*\30[^\30]*\30[^\30]*\30(.*)$')
      if amounts then
        local j = 0
        for amount in string.gmatch(amounts, '[^\31]+') do
          j = j + 1
          if set.held[j] == '2' then
            had = tonumber(amount)
          end
        end
      end
      local more_hard, more = math.max(hard - tonumber(first), 0), math.max(statistical - had, 0)
      adds['1'], adds['2'], adds['3'], adds['4'], adds['5'] = more_hard, more, 0, 0, 0
      local place, lacking = without_room(set)
      if place then
        full(i, place, lacking)
      elseif more_hard > 0 or more > 0 then
        take(set)
        local kept = string.format('%.0f', math.max(hard, tonumber(first)))
        local grown = string.format('%.0f', math.max(statistical, had))
        write(ARGV[i], value(kept .. rest, set, kept, grown, ARGV[i + 6]))
      end
    end
  elseif not known[ARGV[i]] then -- what is held already is not held twice
    adds['1'], adds['2'], adds['3'], adds['4'], adds['5'] = hard, statistical, 1, tonumber(ARGV[i + 7]), 1
    local place, lacking = without_room(set)
    if outside(set) then
      refuse(i, -1, 0, 0)
    elseif place then
      full(i, place, lacking)
    else
      take(set)
      write(ARGV[i], value(ARGV[i + 1] .. stamp, set, ARGV[i + 1], ARGV[i + 2], ARGV[i + 6]))
    end
  end
end

if #fields > 0 then
  redis.call('HSET', KEYS[1], unpack(fields))
end
for number = 1, #periods do
  local period = periods[number]
  if period.counts and period.counts > 0 then
    local more = string.format('%.0f', period.counts)
    redis.call('HINCRBY', period.key, string.format('%.0f', period.bucket), more)
    redis.call('HINCRBY', period.key, 's', more)
  end
  if period.more > 0 then
    redis.call('HINCRBY', KEYS[number + 1], 'h', string.format('%.0f', period.more))
    if period.fresh and period.keep ~= '0' then
      redis.call('PEXPIRE', KEYS[number + 1], period.keep)
    end
  end
end
if limited then
  local counts = {}
  for number = 1, #periods do
    counts[number] = string.format('%.0f', periods[number].spent + periods[number].held)
  end
  reply[#reply + 1] = counts
end
return reply
