-- Puts a letter among the dead ones.
--
-- KEYS  letters, order
-- ARGV  1 id  2 when (ms)  3 record  4 how many there may be
-- Gives 1, or 0 if there are too many.
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 1 then return 1 end
if redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[4]) then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
-- All with the same score, so in the order of the text; a time has always as many digits.
redis.call('ZADD', KEYS[2], 0, ARGV[2] .. '/' .. ARGV[1])
return 1
