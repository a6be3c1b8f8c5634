-- Removes notes that nodes have users in a channel.
--
-- ARGV  from 6 on the notes, each <node>/<user>
-- Gives whether there is an untold change.
local ticket = most and unmarked(KEYS[6], ARGV[4], ARGV[5])
if ticket then return ticket end
for at = 6, #ARGV do release(ARGV[at]) end
return crowded
