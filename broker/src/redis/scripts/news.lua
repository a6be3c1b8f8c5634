-- Stands before each script that changes who is in a channel: what the subscribers are told.
--
-- KEYS  holds, users, nodes
-- ARGV  1 PUB/SUB channel  2 PUBLISH or SPUBLISH  3 how many users are told by name  then each script's own
local holds, users, nodes = KEYS[1], KEYS[2], KEYS[3]
-- Whether something changed that is too much to tell. The node that called tells the number a little later.
local crowded = 0

local function tell(sign, user, entry, most)
  if most > tonumber(ARGV[3]) then
    crowded = 1
  else
    local count = string.format('%.0f', redis.call('HLEN', users))
    redis.call(ARGV[2], ARGV[1], '3:' .. sign .. ':' .. count .. ':' .. user .. '/' .. entry)
  end
end

-- Notes that a node has a user.
local function hold(node, user, entry)
  local noted = redis.call('HGET', users, user)
  local held = noted and tonumber(noted:match('^(%d+):')) or 0
  if redis.call('HSET', holds, node .. '/' .. user, '') == 1 then
    redis.call('HINCRBY', nodes, node, 1)
    held = held + 1
  end
  redis.call('HSET', users, user, held .. ':' .. entry)
  if not noted then tell('+', user, entry, redis.call('HLEN', users)) end
end

-- Removes such a note.
local function release(note)
  if redis.call('HDEL', holds, note) == 0 then return end
  local node, user = note:match('^([^/]+)/(.*)$')
  if redis.call('HINCRBY', nodes, node, -1) <= 0 then redis.call('HDEL', nodes, node) end
  local noted = redis.call('HGET', users, user)
  if not noted then return end
  local held, entry = noted:match('^(%d+):(.*)$')
  if tonumber(held) > 1 then
    redis.call('HSET', users, user, (tonumber(held) - 1) .. ':' .. entry)
  else
    redis.call('HDEL', users, user)
    tell('-', user, entry, redis.call('HLEN', users) + 1)
  end
end

