-- Reads dead letters in their order.
--
-- KEYS  letters, order
-- ARGV  1 the place after which to begin, or empty  2 how many
-- Gives {record, …}.
local from = ARGV[1] == '' and '-' or '(' .. ARGV[1]
local records = {}
for _, place in ipairs(redis.call('ZRANGE', KEYS[2], from, '+', 'BYLEX', 'LIMIT', 0, ARGV[2])) do
  records[#records + 1] = redis.call('HGET', KEYS[1], place:match('/(.*)$'))
end
return records
