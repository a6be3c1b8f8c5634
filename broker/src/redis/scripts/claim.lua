-- Claims channels of the index whose turn it is.
--
-- KEYS  turns, holders, ages
-- ARGV  1 how many  2 lease (ms)  3 token
-- Gives {{channel, failures, …}, how many channels there are, {channel, since when it waits} of the oldest}.
--
-- A holder is <token>:<failures>, with a + behind it if the channel was entered again since.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local claimed = {}
for _, channel in ipairs(redis.call('ZRANGE', KEYS[1], '-inf', now, 'BYSCORE', 'LIMIT', 0, ARGV[1])) do
  local kept = redis.call('HGET', KEYS[2], channel)
  local failures = kept and kept:match(':(%d+)') or '0'
  redis.call('ZADD', KEYS[1], now + tonumber(ARGV[2]), channel)
  redis.call('HSET', KEYS[2], channel, ARGV[3] .. ':' .. failures)
  claimed[#claimed + 1] = channel
  claimed[#claimed + 1] = failures
end
local oldest = redis.call('ZRANGE', KEYS[3], 0, 0, 'WITHSCORES')
return {claimed, redis.call('ZCARD', KEYS[1]), oldest}
