-- Leaves a node's answer to a question.
--
-- KEYS  answers
-- ARGV  1 a name of this answer, so that leaving it twice leaves one  2 the answer  3 for how long (ms)
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1
