-- Notes that a node has users in a channel, and says how many users are there and on which nodes, alive or dead.
--
-- ARGV  4 node  5 life of the notes (ms)  then for each user: the user, the entry
-- Gives {number of users, {node…}, whether there is an untold change}.
--
-- How many nodes hold a user stands before the entry, so that the number of users is the length of a hash.
for at = 6, #ARGV, 2 do hold(ARGV[4], ARGV[at], ARGV[at + 1]) end
for _, key in ipairs(KEYS) do redis.call('PEXPIRE', key, ARGV[5]) end
return {redis.call('HLEN', users), redis.call('HKEYS', nodes), crowded}
