-- Notes how far a device of a user has got in the user's channel, unless it is known to be further.
--
-- KEYS  devices: a hash of <epoch>:<offset>:<nonce>:<when (ms)> by device; meta
-- ARGV  1 device  2 epoch  3 offset  4 nonce  5 life (ms)  6 how many devices there may be
local devices, meta, device = KEYS[1], KEYS[2], ARGV[1]
local time = redis.call('TIME')
local now = string.format('%.0f', tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000))
local place = ARGV[2] .. ':' .. ARGV[3] .. ':' .. ARGV[4]

local kept = redis.call('HGET', devices, device)
if kept then
  local known, epoch, offset = kept:match('^((%d+):(%d+):%d+):')
  local top = redis.call('HMGET', meta, 'e', 's')
  if epoch == ARGV[2] then
    -- What lies beyond the stream was lost, and is no place to hold on to.
    local stands = not top[1] or top[1] ~= epoch or tonumber(offset) <= tonumber(top[2])
    if stands and tonumber(offset) > tonumber(ARGV[3]) then place = known end
  elseif top[1] == epoch then
    place = known
  end
end

redis.call('HSET', devices, device, place .. ':' .. now)
if redis.call('HLEN', devices) > tonumber(ARGV[6]) then
  local oldest, since
  local all = redis.call('HGETALL', devices)
  for at = 1, #all, 2 do
    local when = tonumber(all[at + 1]:match(':(%d+)$'))
    if all[at] ~= device and (not since or when < since) then oldest, since = all[at], when end
  end
  redis.call('HDEL', devices, oldest)
end
-- The epoch has to be known for as long, or a device that missed nothing would be told that the stream began anew. Neither
-- is shortened, since others may have said more.
for _, key in ipairs({devices, meta}) do
  if redis.call('PTTL', key) < tonumber(ARGV[5]) then redis.call('PEXPIRE', key, ARGV[5]) end
end
return 1
