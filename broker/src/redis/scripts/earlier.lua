-- Reads a channel's top and a part of its stream backwards in one step, so that the two agree.
--
-- KEYS  meta, stream
-- ARGV  1 how many entries  2 epoch of the place to begin at, empty for the top  3 offset of that place, inclusive
-- Gives {epoch, offset, nonce, entries}; zeros for a stream that there is not.
local kept = redis.call('HMGET', KEYS[1], 'e', 's', 'n')
if not kept[1] then return {'0', '0', '0', {}} end
if ARGV[2] ~= '' and ARGV[2] ~= kept[1] then return {kept[1], kept[2], kept[3], {}} end
local from = ARGV[2] == '' and '+' or ARGV[3]
return {kept[1], kept[2], kept[3], redis.call('XREVRANGE', KEYS[2], from, '-', 'COUNT', ARGV[1])}
