-- Tells the subscribers of a crowded channel how many users are there, not too often.
--
-- KEYS  users, and what was told lately
-- ARGV  1 PUB/SUB channel  2 PUBLISH or SPUBLISH  3 the least time between two tellings (ms)
-- Gives 1 if the number was told, now or by another node, and 0 if that has to wait.
local count = string.format('%.0f', redis.call('HLEN', KEYS[1]))
local told = redis.call('GET', KEYS[2])
if told then return told == count and 1 or 0 end
redis.call('SET', KEYS[2], count, 'PX', ARGV[3])
redis.call(ARGV[2], ARGV[1], '3:=:' .. count .. ':')
return 1
