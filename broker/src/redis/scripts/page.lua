-- Says who is noted in a channel, page by page, on nodes alive or dead.
--
-- KEYS  users, nodes
-- ARGV  1 where to go on, at first 0  2 about how many users to list
-- Gives {where to go on, 0 at the end, {node…}, {user, noted entry, …}}.
local page = redis.call('HSCAN', KEYS[1], ARGV[1], 'COUNT', ARGV[2])
return {page[1], redis.call('HKEYS', KEYS[2]), page[2]}
