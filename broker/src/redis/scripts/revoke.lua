-- Notes that something is revoked, and forgets what is past.
--
-- KEYS  what is revoked by its order, and by its end (ms)
-- ARGV  1 what  2 until when (ms)  3 how much there may be
-- Gives 1, or 0 if there is too much.
local time = redis.call('TIME')
local micros = tonumber(time[1]) * 1000000 + tonumber(time[2])
local past = redis.call('ZRANGE', KEYS[2], '-inf', math.floor(micros / 1000), 'BYSCORE', 'LIMIT', 0, 100)
for _, text in ipairs(past) do
  redis.call('ZREM', KEYS[1], text)
  redis.call('ZREM', KEYS[2], text)
end
if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[3]) and not redis.call('ZSCORE', KEYS[1], ARGV[1]) then return 0 end
-- By the clock, so that whoever read up to here finds what comes after Redis forgot some.
local newest = redis.call('ZRANGE', KEYS[1], 0, 0, 'REV', 'WITHSCORES')
local order = math.max(micros, newest[2] and tonumber(newest[2]) + 1 or 0)
redis.call('ZADD', KEYS[1], string.format('%.0f', order), ARGV[1])
redis.call('ZADD', KEYS[2], 'GT', ARGV[2], ARGV[1])
return 1
