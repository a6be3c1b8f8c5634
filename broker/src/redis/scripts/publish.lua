-- Appends one publication to a channel's stream and hands it to the subscribers, at most once.
--
-- KEYS  meta, stream, and the idempotency record where the publisher gave an id
-- ARGV  1 payload  2 channel  3 PUBLISH or SPUBLISH  4 size  5 age (ms)  6 life of meta (ms)
--       7 epoch if the stream begins  8 nonce  9 "1" if this may have run before
--       10 fingerprint, empty without an id  11 window (ms)
--       12 how much may wait in the outbox, empty if this does not go there  13 ticket
--       14 "1" if the caller waits on this connection for more than memory
-- KEYS  and where it goes to the outbox: outbox, mark
-- Gives {"ok" | "dup" | "conflict" | "full", epoch, offset, nonce} or {"unmarked", ticket}.
--
-- Epochs and nonces go beyond 2^53, where Lua's numbers are no longer exact, so they stay text. An offset does not.
local meta, stream, record = KEYS[1], KEYS[2], ARGV[10] ~= '' and KEYS[3]
local nonce = ARGV[8]

-- What is there already was perhaps written on another connection. Whoever waits needs a write after it on their own,
-- which gets nowhere without it: a later death of a key is one that harms nobody.
local function found(answer, key, life)
  if ARGV[14] == '1' then redis.call('PEXPIRE', key, life) end
  return answer
end

if record then
  local kept = redis.call('GET', record)
  if kept then
    local fingerprint, epoch, offset, by = kept:match('^(%x+):(%d+):(%d+):(%d+)$')
    if fingerprint ~= ARGV[10] then return {'conflict', '0', '0', '0'} end
    -- Our own nonce: an earlier try of this very call, whose answer was lost.
    return found({by == nonce and 'ok' or 'dup', epoch, offset, by}, record, ARGV[11])
  end
end

local kept = redis.call('HMGET', meta, 'e', 's', 'n')
local epoch, offset, previous = kept[1], kept[2], kept[3]
if not epoch then
  epoch, offset, previous = ARGV[7], '0', '0'
  -- Only where there is something to remove: after a script's first write, Redis no longer minds that memory is short.
  if redis.call('EXISTS', stream) == 1 then redis.call('DEL', stream) end
elseif previous == nonce then
  return found({'ok', epoch, offset, nonce}, meta, ARGV[6])
elseif ARGV[9] == '1' then
  -- An earlier try may have come through, and others may have published since.
  for _, entry in ipairs(redis.call('XREVRANGE', stream, '+', '-', 'COUNT', 100)) do
    local at, by = entry[1]:match('^(%d+)-(%d+)$')
    if by == nonce then return found({'ok', epoch, at, nonce}, meta, ARGV[6]) end
  end
end

local outbox, mark = ARGV[12] ~= '' and KEYS[#KEYS - 1], KEYS[#KEYS]
if outbox then
  local ticket = unmarked(mark, ARGV[13], nonce)
  if ticket then return {'unmarked', ticket} end
  if redis.call('XLEN', outbox) >= tonumber(ARGV[12]) then return {'full', '0', '0', '0'} end
end

offset = string.format('%.0f', tonumber(offset) + 1)
-- The stream first: where memory is short this fails, and then nothing has happened.
redis.call('XADD', stream, 'MAXLEN', '~', ARGV[4], offset .. '-' .. nonce, 'p', previous, 'd', ARGV[1])
redis.call('PEXPIRE', stream, ARGV[5])
redis.call('HSET', meta, 'e', epoch, 's', offset, 'n', nonce)
redis.call('PEXPIRE', meta, ARGV[6])
if outbox then enqueue(outbox, mark, 'm:' .. epoch .. ':' .. offset .. ':' .. nonce, ARGV[1]) end
if record then
  redis.call('SET', record, ARGV[10] .. ':' .. epoch .. ':' .. offset .. ':' .. nonce, 'PX', ARGV[11])
end
redis.call(ARGV[3], ARGV[2], '1:' .. epoch .. ':' .. offset .. ':' .. nonce .. ':' .. previous .. ':' .. ARGV[1])
return {'ok', epoch, offset, nonce}
