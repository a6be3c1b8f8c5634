-- Lists the rooms of a tenant in which somebody is, page by page.
--
-- KEYS  rooms
-- ARGV  1 where to go on, at first 0  2 about how many rooms to list
-- Gives {where to go on, 0 at the end, {room, number of users, …}}.
return redis.call('ZSCAN', KEYS[1], ARGV[1], 'COUNT', ARGV[2])
