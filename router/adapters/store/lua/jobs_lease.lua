-- Takes up parcels and jobs that are due, for a while: nobody else gets them meanwhile.
-- KEYS   1 due, 2 leases, 3 parcels, 4 queue
-- ARGV   1 ms of a lease, 2 most
-- Reply  the store's time in ms; when something is due next, or a lease ends ("" for never); how many lines lie on the queue;
--        then for each: what it is, when the lease ends, a parcel's record (or "")
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local text = string.format('%.0f', now)
for _, member in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', text)) do
  redis.call('ZREM', KEYS[2], member)
  redis.call('ZADD', KEYS[1], text, member)
end
local reply = {now, '', redis.call('XLEN', KEYS[4])}
local till = string.format('%.0f', now + tonumber(ARGV[1]))
for _, member in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', text, 'LIMIT', 0, ARGV[2])) do
  redis.call('ZREM', KEYS[1], member)
  redis.call('ZADD', KEYS[2], till, member)
  reply[#reply + 1] = member
  reply[#reply + 1] = till
  reply[#reply + 1] = string.sub(member, 1, 2) == 'p:' and redis.call('HGET', KEYS[3], string.sub(member, 3)) or ''
end
for _, key in ipairs({KEYS[1], KEYS[2]}) do
  local first = redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')[2]
  if first and (reply[2] == '' or tonumber(first) < tonumber(reply[2])) then
    reply[2] = first
  end
end
return reply
