-- Notes how many sessions a node has in a tenant.
--
-- KEYS  sessions of the tenant
-- ARGV  1 node  2 how many  3 life of the notes (ms)
if ARGV[2] == '0' then redis.call('HDEL', KEYS[1], ARGV[1]) else redis.call('HSET', KEYS[1], ARGV[1], ARGV[2]) end
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1
