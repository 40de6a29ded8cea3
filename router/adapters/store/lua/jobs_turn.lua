-- Moves lines from one state to another, each only if it is still where its mover saw it.
-- KEYS   1 queue, 2 due; then for each job: the job, its lines, its payloads
-- ARGV   1 now ms, 2 count of jobs, their ids; then for each line: number of its job, number, guard that must stand now,
--        value, 1 if a queued line is to be queued at once, payload of its result ("" for none), cost in nano-dollars,
--        its entry in the queue, which goes if it was moved ("" to leave it)
-- Reply  for each line 1 if it was moved, else 0; then the numbers of those jobs that have their end by this
local over = {succeeded = true, failed = true, cancelled = true, expired = true}
local jobs, reply = tonumber(ARGV[2]), {}
for i = 3 + jobs, #ARGV, 8 do
  local place = 3 * tonumber(ARGV[i])
  local job, lines, payloads = KEYS[place], KEYS[place + 1], KEYS[place + 2]
  local stands = redis.call('HGET', lines, ARGV[i + 1])
  if stands and string.match(stands, '^([^\n]*)\n') == ARGV[i + 2] then
    redis.call('HSET', lines, ARGV[i + 1], ARGV[i + 3])
    local state = string.match(ARGV[i + 3], '^(%a+):')
    if state == 'queued' and ARGV[i + 4] == '1' then
      redis.call('XADD', KEYS[1], '*', 'j', ARGV[2 + tonumber(ARGV[i])], 'n', ARGV[i + 1])
    end
    if over[state] then
      redis.call('HINCRBY', job, 'done', 1)
      redis.call('HINCRBY', job, state, 1)
      local begun = redis.call('HGET', payloads, 'b' .. ARGV[i + 1])
      if begun then
        redis.call('HINCRBY', job, 'begun', '-' .. begun)
        redis.call('HDEL', payloads, 'b' .. ARGV[i + 1])
      end
    end
    if ARGV[i + 5] ~= '' then
      redis.call('HSET', payloads, 'r' .. ARGV[i + 1], ARGV[i + 5])
    end
    if ARGV[i + 6] ~= '0' then
      redis.call('HINCRBY', job, 'cost', ARGV[i + 6])
    end
    if ARGV[i + 7] ~= '' then
      redis.call('XACK', KEYS[1], 'b', ARGV[i + 7])
      redis.call('XDEL', KEYS[1], ARGV[i + 7])
    end
    reply[#reply + 1] = 1
  else
    reply[#reply + 1] = 0
  end
end
for number = 1, jobs do
  local job = KEYS[3 * number]
  local counted = redis.call('HMGET', job, 'sealed', 'lines', 'done')
  if counted[1] and counted[2] == counted[3] and redis.call('HSETNX', job, 'ended', ARGV[1]) == 1 then
    redis.call('ZADD', KEYS[2], ARGV[1], 'j:' .. ARGV[2 + number])
    reply[#reply + 1] = number
  end
end
return reply
