-- Takes in a job, or further lines of one. Doing it twice changes nothing.
-- KEYS   1 job, 2 its lines, 3 its payloads, 4 jobs by age, 5 queue, 6 due, 7 prices
-- ARGV   1 job id, 2 record, 3 created ms, 4 checkpoint that must stand now ("" for any), 5 checkpoint after this,
--        6 1 if no lines will follow, 7 ms at which the job itself is due ("" for never), 8 now ms;
--        count of prices, (version, price) each;
--        count of lines; for each: number, value, 1 if it is to be queued, its payload ("" where that lies elsewhere)
-- Reply  1, or 0 if the checkpoint was another
-- A line's value begins with its guard, "state:tries:bound", and a line break.
if redis.call('HSETNX', KEYS[1], 'record', ARGV[2]) == 1 then
  redis.call('ZADD', KEYS[4], ARGV[3], ARGV[1])
  redis.call('HSET', KEYS[1], 'lines', 0, 'done', 0, 'at', '')
  if ARGV[7] ~= '' then
    redis.call('ZADD', KEYS[6], ARGV[7], 'j:' .. ARGV[1])
  end
end
if ARGV[4] ~= '' or ARGV[5] ~= '' then
  if redis.call('HGET', KEYS[1], 'at') ~= ARGV[4] then
    return 0
  end
  redis.call('HSET', KEYS[1], 'at', ARGV[5])
end
local at = 9
for i = 1, tonumber(ARGV[at]) do
  redis.call('HSET', KEYS[7], ARGV[at + 2 * i - 1], ARGV[at + 2 * i])
end
at = at + 1 + 2 * tonumber(ARGV[at])
local over = {succeeded = true, failed = true, cancelled = true, expired = true}
for i = at + 1, #ARGV, 4 do
  if redis.call('HSETNX', KEYS[2], ARGV[i], ARGV[i + 1]) == 1 then
    redis.call('HINCRBY', KEYS[1], 'lines', 1)
    if ARGV[i + 3] ~= '' then
      redis.call('HSET', KEYS[3], ARGV[i], ARGV[i + 3])
    end
    local state = string.match(ARGV[i + 1], '^(%a+):')
    if over[state] then
      redis.call('HINCRBY', KEYS[1], 'done', 1)
      redis.call('HINCRBY', KEYS[1], state, 1)
    end
    if ARGV[i + 2] == '1' then
      redis.call('XADD', KEYS[5], '*', 'j', ARGV[1], 'n', ARGV[i])
    end
  end
end
if ARGV[6] == '1' then
  redis.call('HSET', KEYS[1], 'sealed', 1)
  local counted = redis.call('HMGET', KEYS[1], 'lines', 'done')
  if counted[1] == counted[2] and redis.call('HSETNX', KEYS[1], 'ended', ARGV[8]) == 1 then
    redis.call('ZADD', KEYS[6], ARGV[8], 'j:' .. ARGV[1])
  end
end
return 1
