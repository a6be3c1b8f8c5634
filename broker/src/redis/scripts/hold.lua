-- Notes that a node has users in a channel, and says how many users are there and on which nodes, alive or dead.
--
-- KEYS  holds, users, nodes
-- ARGV  1 node  2 life of the notes (ms)  then for each user: the user, the entry
-- Gives {number of users, {node…}}.
--
-- How many nodes hold a user stands before the entry, so that the number of users is the length of a hash.
local holds, users, nodes = KEYS[1], KEYS[2], KEYS[3]
for at = 3, #ARGV, 2 do
  local user, entry = ARGV[at], ARGV[at + 1]
  local noted = redis.call('HGET', users, user)
  local held = noted and tonumber(noted:match('^(%d+):')) or 0
  if redis.call('HSET', holds, ARGV[1] .. '/' .. user, '') == 1 then
    redis.call('HINCRBY', nodes, ARGV[1], 1)
    held = held + 1
  end
  redis.call('HSET', users, user, held .. ':' .. entry)
end
for _, key in ipairs(KEYS) do redis.call('PEXPIRE', key, ARGV[2]) end
return {redis.call('HLEN', users), redis.call('HKEYS', nodes)}
