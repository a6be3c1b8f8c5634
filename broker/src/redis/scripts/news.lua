-- Stands before each script that changes who is in a channel: what the subscribers are told.
--
-- KEYS  holds, users, nodes, how much may wait in the outbox, outbox, mark
-- ARGV  1 PUB/SUB channel  2 PUBLISH or SPUBLISH  3 how many users are told by name  4 ticket  5 a ticket to draw, which
--       also names what is told  then each script's own
-- Gives, before anything is done, a ticket to come back with: see enqueue.lua, which stands before this.
local holds, users, nodes = KEYS[1], KEYS[2], KEYS[3]
-- Whether something changed that is too much to tell. The node that called tells the number a little later.
local crowded = 0
-- How much may wait in the outbox of a channel whose backend is told when it is occupied, and when it is vacated.
local most = tonumber(redis.call('GET', KEYS[4]) or '')
local letters = 0

-- Tells the backend that the first user came, or that the last one went. Of these twice as much may wait as of messages:
-- who comes and goes cannot be refused.
local function report(sign, user, entry)
  if not most or redis.call('XLEN', KEYS[5]) >= 2 * most then return end
  letters = letters + 1
  enqueue(KEYS[5], KEYS[6], 'p:' .. ARGV[5] .. ':' .. letters, sign .. user .. '/' .. entry)
end

local function tell(sign, user, entry, reach)
  if reach > tonumber(ARGV[3]) then
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
  if not noted then
    local count = redis.call('HLEN', users)
    tell('+', user, entry, count)
    if count == 1 then report('+', user, entry) end
  end
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
    local count = redis.call('HLEN', users)
    tell('-', user, entry, count + 1)
    if count == 0 then report('-', user, entry) end
  end
end

