-- Stands before each script that adds to a channel's outbox.
--
-- What waits is found through an index in other slots. The mark says that the channel stands there. Whoever finds no mark
-- draws a ticket, enters the channel into the index, and comes back with it: where meanwhile a worker saw the outbox empty
-- and took the channel out, the ticket is void.

-- Gives a ticket if the channel may not stand in the index, and otherwise nil. `fresh` is a ticket to draw.
local function unmarked(mark, ticket, fresh)
  local kept = redis.call('GET', mark)
  if kept == 'yes' or (kept and kept == ticket) then return nil end
  if kept then return kept end
  redis.call('SET', mark, fresh, 'PX', 60000)
  return fresh
end

-- Adds a letter. The mark is renewed from time to time, which makes up for an index that lost something.
local function enqueue(outbox, mark, id, data)
  redis.call('XADD', outbox, '*', 'i', id, 'd', data)
  if redis.call('GET', mark) ~= 'yes' then redis.call('SET', mark, 'yes', 'PX', 60000) end
end

