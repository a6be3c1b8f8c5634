-- Says who is noted in a channel, on nodes alive or dead.
--
-- KEYS  users, nodes
-- ARGV  1 how many users to list
-- Gives {number of users, {node…}, {user, noted entry, …}}.
local listed = {}
if ARGV[1] ~= '0' then listed = redis.call('HRANDFIELD', KEYS[1], ARGV[1], 'WITHVALUES') end
return {redis.call('HLEN', KEYS[1]), redis.call('HKEYS', KEYS[2]), listed}
