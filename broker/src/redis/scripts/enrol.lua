-- Enters a node into the register of those that have to be looked after when they die.
--
-- KEYS  register
-- ARGV  1 node  2 for how long it surely lives (ms)
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
redis.call('ZADD', KEYS[1], now + tonumber(ARGV[2]), ARGV[1])
return 1
