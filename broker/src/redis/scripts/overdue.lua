-- Names the nodes in the register that gave no sign of life for too long.
--
-- KEYS  register
-- ARGV  1 how many
-- Gives {node, "0" if it said farewell, …}.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
return redis.call('ZRANGE', KEYS[1], '-inf', now, 'BYSCORE', 'LIMIT', 0, ARGV[1], 'WITHSCORES')
