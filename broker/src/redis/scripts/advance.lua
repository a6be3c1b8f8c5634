-- Removes letters from a channel's outbox and reads the next.
--
-- KEYS  outbox, mark
-- ARGV  1 how many to read  2… the ids of those to remove
-- Gives the entries.
for at = 2, #ARGV do redis.call('XDEL', KEYS[1], ARGV[at]) end
local entries = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', ARGV[1])
-- Without a mark, whoever adds the next letter enters the channel into the index again.
if #entries == 0 then redis.call('DEL', KEYS[1], KEYS[2]) end
return entries
