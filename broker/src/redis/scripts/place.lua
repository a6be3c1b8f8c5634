-- Gives a session a place among those that a user may have at a time, and takes it from the oldest that are too many.
--
-- KEYS  sessions of the user, in the order in which they came
-- ARGV  1 session  2 how many there may be  3 whether it has a place already, as far as it knows (1 or 0)
--       4 life of the places (ms)  5 PUB/SUB channel of the user  6 PUBLISH or SPUBLISH
-- Gives whether it has a place.
local entries = redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')
local limit = tonumber(ARGV[2])
local sessions, known = {}, false
for at = 1, #entries, 2 do
  sessions[#sessions + 1] = entries[at]
  if entries[at] == ARGV[1] then known = true end
end
if not known then
  if ARGV[3] == '0' then
    local newest = #entries > 0 and tonumber(entries[#entries]) or 0
    redis.call('ZADD', KEYS[1], newest + 1, ARGV[1])
    sessions[#sessions + 1] = ARGV[1]
  elseif #sessions < limit then
    -- Redis forgot it. It is older than all that came since.
    local oldest = #entries > 0 and tonumber(entries[2]) or 0
    redis.call('ZADD', KEYS[1], oldest - 1, ARGV[1])
    sessions[#sessions + 1] = ARGV[1]
  else
    return 0
  end
end
redis.call('PEXPIRE', KEYS[1], ARGV[4])
local lost = {}
for at = 1, #sessions - limit do
  redis.call('ZREM', KEYS[1], sessions[at])
  lost[#lost + 1] = '"' .. sessions[at] .. '"'
end
if #lost > 0 then
  redis.call(ARGV[6], ARGV[5], '2:{"replaced":[' .. table.concat(lost, ',') .. ']}')
end
return 1
