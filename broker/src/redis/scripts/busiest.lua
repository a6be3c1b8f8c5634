-- Says in how many rooms of a tenant somebody is, and which have the most users.
--
-- KEYS  rooms
-- ARGV  1 how many to list
-- Gives {number of rooms, {room, number of users, …}}.
local listed = {}
if ARGV[1] ~= '0' then listed = redis.call('ZRANGE', KEYS[1], 0, ARGV[1] - 1, 'REV', 'WITHSCORES') end
return {redis.call('ZCARD', KEYS[1]), listed}
