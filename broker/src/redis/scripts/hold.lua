-- Notes that a node has users in a channel, and says how many users are there and on which nodes, alive or dead.
--
-- ARGV  6 node  7 life of the notes (ms)  8 how much may wait in the outbox, empty if the backend is not told
--       then for each user: the user, the entry
-- Gives {number of users, {node…}, whether there is an untold change}.
--
-- How many nodes hold a user stands before the entry, so that the number of users is the length of a hash.
most = tonumber(ARGV[8])
local ticket = most and unmarked(KEYS[6], ARGV[4], ARGV[5])
if ticket then return ticket end
if most then redis.call('SET', KEYS[4], ARGV[8], 'PX', ARGV[7]) end
for at = 9, #ARGV, 2 do hold(ARGV[6], ARGV[at], ARGV[at + 1]) end
for at = 1, 3 do redis.call('PEXPIRE', KEYS[at], ARGV[7]) end
return {redis.call('HLEN', users), redis.call('HKEYS', nodes), crowded}
