-- Removes a part of what a dead node noted in a channel.
--
-- ARGV  6 node  7 where to go on, at first 0  8 about how many notes to look at
-- Gives {where to go on, 0 at the end, whether there is an untold change}.
--
-- A name holds no character that has a meaning in a pattern.
if not redis.call('HGET', nodes, ARGV[6]) then return {'0', 0} end
local ticket = most and unmarked(KEYS[6], ARGV[4], ARGV[5])
if ticket then return ticket end
local page = redis.call('HSCAN', holds, ARGV[7], 'MATCH', ARGV[6] .. '/*', 'COUNT', ARGV[8])
for at = 1, #page[2], 2 do release(page[2][at]) end
return {page[1], crowded}
