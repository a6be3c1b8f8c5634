-- Appends a letter to a stream that the backend reads.
--
-- KEYS  stream
-- ARGV  1 how much may stand in it  2 id  3 body
-- Gives 1, or 0 if it is full.
if redis.call('XLEN', KEYS[1]) >= tonumber(ARGV[1]) then return 0 end
redis.call('XADD', KEYS[1], '*', 'id', ARGV[2], 'body', ARGV[3])
return 1
