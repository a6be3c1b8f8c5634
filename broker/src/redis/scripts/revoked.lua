-- Reads what was revoked after a place in the order.
--
-- KEYS  what is revoked by its order, and by its end (ms)
-- ARGV  1 after which order  2 how much at most
-- Gives {what, order, until, …}.
local news = redis.call('ZRANGE', KEYS[1], '(' .. ARGV[1], '+inf', 'BYSCORE', 'LIMIT', 0, ARGV[2], 'WITHSCORES')
local found = {}
for at = 1, #news, 2 do
  found[#found + 1] = news[at]
  found[#found + 1] = string.format('%.0f', tonumber(news[at + 1]))
  found[#found + 1] = string.format('%.0f', tonumber(redis.call('ZSCORE', KEYS[2], news[at]) or '0'))
end
return found
