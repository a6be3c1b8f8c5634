-- Hands an ephemeral publication with an id to the subscribers, at most once. Without an id no script is needed.
--
-- KEYS  the idempotency record
-- ARGV  1 message  2 channel  3 PUBLISH or SPUBLISH  4 nonce  5 fingerprint  6 window (ms)
-- Gives {"ok" | "dup" | "conflict", epoch, offset, nonce}; offset 0 where there is no place in the stream.
local kept = redis.call('GET', KEYS[1])
if kept then
  local fingerprint, epoch, offset, by = kept:match('^(%x+):(%d+):(%d+):(%d+)$')
  if fingerprint ~= ARGV[5] then return {'conflict', '0', '0', '0'} end
  return {by == ARGV[4] and 'ok' or 'dup', epoch, offset, by}
end
redis.call('SET', KEYS[1], ARGV[5] .. ':0:0:' .. ARGV[4], 'PX', ARGV[6])
redis.call(ARGV[3], ARGV[2], ARGV[1])
return {'ok', '0', '0', ARGV[4]}
