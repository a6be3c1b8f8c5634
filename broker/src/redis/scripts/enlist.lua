-- Changes the rooms that a user is a member of, all or nothing.
--
-- KEYS  rooms of the user
-- ARGV  1 how many there may be  2 how many of the following are to be left  3… the rooms: first those to be left
-- Gives 1, or 0 if there would be too many.
local leaving = tonumber(ARGV[2])
local count = redis.call('SCARD', KEYS[1])
for at = 3, #ARGV do
  local is = redis.call('SISMEMBER', KEYS[1], ARGV[at])
  if at < 3 + leaving then count = count - is else count = count + 1 - is end
end
-- Who only leaves may always do so.
if #ARGV > 2 + leaving and count > tonumber(ARGV[1]) then return 0 end
for at = 3, #ARGV do
  redis.call(at < 3 + leaving and 'SREM' or 'SADD', KEYS[1], ARGV[at])
end
return 1
