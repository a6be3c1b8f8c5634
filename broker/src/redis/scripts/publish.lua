-- Appends publications to a channel's stream and hands them to the subscribers, each at most once.
--
-- KEYS  meta, stream, and the idempotency record where the publisher gave an id
-- ARGV  1 channel  2 PUBLISH or SPUBLISH  3 size  4 age (ms)  5 life of meta (ms)
--       6 "1" if this may have run before  7 fingerprint, empty without an id  8 window (ms)
--       9 how much may wait in the outbox, empty if this does not go there  10 ticket
--       11 "1" if the caller waits on this connection for more than memory
--       12 nonce  13 payload; and more of these, where there is neither an id nor an outbox and this runs the first time
-- KEYS  and where it goes to the outbox: outbox, mark
-- Gives {"ok" | "dup" | "conflict" | "full", epoch, offset, nonce}, of several those of the first, or {"unmarked", ticket}.
--
-- Epochs and nonces go beyond 2^53, where Lua's numbers are no longer exact, so they stay text. An offset does not.
local meta, stream, record = KEYS[1], KEYS[2], ARGV[7] ~= '' and KEYS[3]
local nonce = ARGV[12]

-- What is there already was perhaps written on another connection. Whoever waits needs a write after it on their own,
-- which gets nowhere without it: a later death of a key is one that harms nobody.
local function found(answer, key, life)
  if ARGV[11] == '1' then redis.call('PEXPIRE', key, life) end
  return answer
end

if record then
  local kept = redis.call('GET', record)
  if kept then
    local fingerprint, epoch, offset, by = kept:match('^(%x+):(%d+):(%d+):(%d+)$')
    if fingerprint ~= ARGV[7] then return {'conflict', '0', '0', '0'} end
    -- Our own nonce: an earlier try of this very call, whose answer was lost.
    return found({by == nonce and 'ok' or 'dup', epoch, offset, by}, record, ARGV[8])
  end
end

local kept = redis.call('HMGET', meta, 'e', 's', 'n')
local epoch, offset, previous = kept[1], kept[2], kept[3]
if not epoch then
  -- As random as an epoch is to be.
  epoch, offset, previous = nonce, '0', '0'
  -- Only where there is something to remove: after a script's first write, Redis no longer minds that memory is short.
  if redis.call('EXISTS', stream) == 1 then redis.call('DEL', stream) end
elseif previous == nonce then
  return found({'ok', epoch, offset, nonce}, meta, ARGV[5])
elseif ARGV[6] == '1' then
  -- An earlier try may have come through, together with others, and others may have published since.
  for _, entry in ipairs(redis.call('XREVRANGE', stream, '+', '-', 'COUNT', 1000)) do
    local at, by = entry[1]:match('^(%d+)-(%d+)$')
    if by == nonce then return found({'ok', epoch, at, nonce}, meta, ARGV[5]) end
  end
end

local outbox, mark = ARGV[9] ~= '' and KEYS[#KEYS - 1], KEYS[#KEYS]
if outbox then
  local ticket = unmarked(mark, ARGV[10], nonce)
  if ticket then return {'unmarked', ticket} end
  if redis.call('XLEN', outbox) >= tonumber(ARGV[9]) then return {'full', '0', '0', '0'} end
end

-- The stream first: where memory is short this fails, and then nothing has happened.
local first, messages = string.format('%.0f', tonumber(offset) + 1), {}
for at = 12, #ARGV, 2 do
  local by, payload = ARGV[at], ARGV[at + 1]
  offset = string.format('%.0f', tonumber(offset) + 1)
  redis.call('XADD', stream, 'MAXLEN', '~', ARGV[3], offset .. '-' .. by, 'p', previous, 'd', payload)
  messages[#messages + 1] = '1:' .. epoch .. ':' .. offset .. ':' .. by .. ':' .. previous .. ':' .. payload
  previous = by
end
redis.call('PEXPIRE', stream, ARGV[4])
redis.call('HSET', meta, 'e', epoch, 's', offset, 'n', previous)
redis.call('PEXPIRE', meta, ARGV[5])
if outbox then enqueue(outbox, mark, 'm:' .. epoch .. ':' .. offset .. ':' .. nonce, ARGV[13]) end
if record then
  redis.call('SET', record, ARGV[7] .. ':' .. epoch .. ':' .. offset .. ':' .. nonce, 'PX', ARGV[8])
end
for _, message in ipairs(messages) do redis.call(ARGV[2], ARGV[1], message) end
return {'ok', epoch, first, nonce}
