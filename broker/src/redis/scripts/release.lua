-- Removes notes that nodes have users in a channel.
--
-- KEYS  holds, users, nodes
-- ARGV  the notes, each <node>/<user>
for _, note in ipairs(ARGV) do
  if redis.call('HDEL', KEYS[1], note) == 1 then
    local node, user = note:match('^([^/]+)/(.*)$')
    if redis.call('HINCRBY', KEYS[3], node, -1) <= 0 then redis.call('HDEL', KEYS[3], node) end
    local held, entry = (redis.call('HGET', KEYS[2], user) or '1:'):match('^(%d+):(.*)$')
    if tonumber(held) > 1 then
      redis.call('HSET', KEYS[2], user, (tonumber(held) - 1) .. ':' .. entry)
    else
      redis.call('HDEL', KEYS[2], user)
    end
  end
end
return #ARGV
