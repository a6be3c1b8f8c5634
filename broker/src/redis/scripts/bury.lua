-- Removes a part of what a dead node noted in a channel.
--
-- ARGV  4 node  5 where to go on, at first 0  6 about how many notes to look at
-- Gives {where to go on, 0 at the end, whether there is an untold change}.
--
-- A name holds no character that has a meaning in a pattern.
if not redis.call('HGET', nodes, ARGV[4]) then return {'0', 0} end
local page = redis.call('HSCAN', holds, ARGV[5], 'MATCH', ARGV[4] .. '/*', 'COUNT', ARGV[6])
for at = 1, #page[2], 2 do release(page[2][at]) end
return {page[1], crowded}
