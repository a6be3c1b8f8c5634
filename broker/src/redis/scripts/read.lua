-- Reads a channel's top and a part of its stream in one step, so that the two agree.
--
-- KEYS  meta, stream
-- ARGV  1 epoch if the stream begins  2 least life of meta (ms)  3 how many entries
--       4 epoch of the place to begin at, empty for the oldest kept entry  5 offset of that place, inclusive
-- Gives {epoch, offset, nonce, entries}.
local meta, stream = KEYS[1], KEYS[2]
local kept = redis.call('HMGET', meta, 'e', 's', 'n')
if not kept[1] then
  -- Whoever is told this place must find the same epoch later, so it is kept from now on.
  redis.call('DEL', stream)
  redis.call('HSET', meta, 'e', ARGV[1], 's', '0', 'n', '0')
  redis.call('PEXPIRE', meta, ARGV[2])
  return {ARGV[1], '0', '0', {}}
end
-- Never shortens what a publish set; written seldom, since this is read often.
if redis.call('PTTL', meta) < tonumber(ARGV[2]) / 2 then redis.call('PEXPIRE', meta, ARGV[2]) end
if ARGV[3] == '0' then return {kept[1], kept[2], kept[3], {}} end
local from = ARGV[4] == kept[1] and ARGV[5] or '-'
return {kept[1], kept[2], kept[3], redis.call('XRANGE', stream, from, '+', 'COUNT', ARGV[3])}
