-- Notes the rows that a sweep is about to book, so that whoever does it again books the same ones.
-- KEYS   1 applied, 2 the journal's swept attempts
-- ARGV   1 the field that numbers the journal's sweeps, 2 what it must still be; then (attempt, row) each
-- Reply  the rows as noted, in their order; nothing if the journal's owner has come back since it was fenced (unfence.lua)
-- That is asked in the same step: a note that is made later would say of an attempt that its owner books that it was swept.
if (redis.call('HGET', KEYS[1], ARGV[1]) or '0') ~= ARGV[2] then
  return {}
end
local rows = {}
for i = 3, #ARGV, 2 do
  redis.call('HSETNX', KEYS[2], ARGV[i], ARGV[i + 1])
  rows[#rows + 1] = redis.call('HGET', KEYS[2], ARGV[i])
end
return rows
