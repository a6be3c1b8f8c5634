-- Puts a letter back into its channel's outbox, however much waits there.
--
-- KEYS  outbox, mark
-- ARGV  1 id  2 data  3 ticket  4 a ticket to draw
-- Gives a ticket to come back with, or an empty text when it is done.
local ticket = unmarked(KEYS[2], ARGV[3], ARGV[4])
if ticket then return ticket end
enqueue(KEYS[1], KEYS[2], ARGV[1], ARGV[2])
return ''
