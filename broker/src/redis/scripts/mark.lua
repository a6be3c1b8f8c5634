-- Enters a channel into the index of those with something in their outbox.
--
-- KEYS  turns, holders, ages
-- ARGV  1 channel
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
redis.call('ZADD', KEYS[1], 'NX', now, ARGV[1])
redis.call('ZADD', KEYS[3], 'NX', now, ARGV[1])
-- Whoever works on it and finds nothing must not take it out any more.
local kept = redis.call('HGET', KEYS[2], ARGV[1])
if kept and kept:sub(-1) ~= '+' then redis.call('HSET', KEYS[2], ARGV[1], kept .. '+') end
return 1
