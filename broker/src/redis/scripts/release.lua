-- Removes notes that nodes have users in a channel.
--
-- ARGV  from 4 on the notes, each <node>/<user>
-- Gives whether there is an untold change.
for at = 4, #ARGV do release(ARGV[at]) end
return crowded
