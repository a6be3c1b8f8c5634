-- Lengthens a claim or gives it back, if it still stands.
--
-- KEYS  turns, holders, ages
-- ARGV  1 channel  2 token  3 "renew" | "rest" | "finish"  4 for how long (ms)  5 failures  6 since when it waits (ms), or empty
-- Gives 1, or 0 if the claim was lost.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local kept = redis.call('HGET', KEYS[2], ARGV[1])
local token, failures, again = (kept or ''):match('^(%d+):(%d+)(%+?)$')
if token ~= ARGV[2] then return 0 end
if ARGV[3] == 'finish' and again == '' then
  redis.call('ZREM', KEYS[1], ARGV[1])
  redis.call('HDEL', KEYS[2], ARGV[1])
  redis.call('ZREM', KEYS[3], ARGV[1])
  return 1
end
if ARGV[3] ~= 'renew' then redis.call('HSET', KEYS[2], ARGV[1], '0:' .. ARGV[5]) end
redis.call('ZADD', KEYS[1], now + tonumber(ARGV[4]), ARGV[1])
if ARGV[6] ~= '' then redis.call('ZADD', KEYS[3], ARGV[6], ARGV[1]) end
return 1
