-- Takes a letter from among the dead ones, if it is still the one that was read.
--
-- KEYS  letters, order
-- ARGV  1 id  2 when it died
if redis.call('ZREM', KEYS[2], ARGV[2] .. '/' .. ARGV[1]) == 0 then return 0 end
return redis.call('HDEL', KEYS[1], ARGV[1])
