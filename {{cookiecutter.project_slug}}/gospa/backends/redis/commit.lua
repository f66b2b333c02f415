-- Commits one change to a room: checks it, writes it and publishes it as a single step.
-- KEYS: the room's hash, its lock, then the last mutation of each client concerned.
-- ARGV: channel, room ttl, mutation ttl (both ms), tag, the message's two parts,
--       the writer, for how long it locks the room after a conflict (ms, '' for not at all),
--       '1' if the room is expected to exist, expected tag or '', the command that publishes,
--       for each client the number of its mutation and ',' or ',n,n,...,' with those refused,
--       count of expectations, then key and value of each ('' where the key is to be absent),
--       count of sets, then key and value of each, count of deletes, then each key.
-- Returns {'done', version, parent or '' if unknown} | {'repeated', version} | {'refused'} | {'conflict', {all fields of the hash}}.

local room, lock = KEYS[1], KEYS[2]
local channel, ttl, last_ttl, tag, before_version, after_parent = unpack(ARGV, 1, 6)
local writer, lock_ttl, exists, expected_tag, publish = unpack(ARGV, 7, 11)
local at = 12
local refused = {}

for i = 3, #KEYS do
  -- The client's last mutation: number, version, numbers refused before it, tag of its commit.
  local n, version, before, by =
    string.match(redis.call('GET', KEYS[i]) or '0 0 , ', '^(%d+) (%d+) (%S*) (.*)$')
  local number = ARGV[at]
  if by == tag then  -- this very commit, sent again because its answer was lost
    return {'done', tonumber(version), ''}
  elseif tonumber(number) <= tonumber(n) then
    local found = string.find(before, ',' .. number .. ',', 1, true)
    -- The room may have been deleted since: a client would wait for a version beyond it.
    local newest = tonumber(redis.call('HGET', room, 'v') or '0')
    return found and {'refused'} or {'repeated', math.min(tonumber(version), newest)}
  end
  for later in string.gmatch(ARGV[at + 1], '%d+') do
    if tonumber(later) > tonumber(n) then  -- another connection may have applied the others
      before = before .. later .. ','
    end
  end
  refused[i] = string.match(string.sub(before, -1024), ',.*')
  at = at + 2
end

local parent = redis.call('HGET', room, 't')
local holder = redis.call('GET', lock)  -- a writer that lost often: all others have to wait
local kept = (not holder or holder == writer)
  and (parent and '1' or '0') == exists
  and (expected_tag == '' or expected_tag == parent)
local count = tonumber(ARGV[at])
for i = at + 1, at + 2 * count, 2 do
  kept = kept and (redis.call('HGET', room, '.' .. ARGV[i]) or '') == ARGV[i + 1]
end
if not kept then
  if not holder and lock_ttl ~= '' then
    redis.call('SET', lock, writer, 'PX', lock_ttl)
  end
  return {'conflict', redis.call('HGETALL', room)}
end
if holder then
  redis.call('DEL', lock)
end
at = at + 2 * count + 1
count = tonumber(ARGV[at])
if count == 0 and ARGV[at + 1] == '0' then  -- nothing to write: the writer only wants to know
  return {'done', tonumber(redis.call('HGET', room, 'v') or '0'), parent or string.rep('\0', 8)}
end

local version = redis.call('HINCRBY', room, 'v', 1)
redis.call('HSET', room, 't', tag)
for i = at + 1, at + 2 * count, 2 do
  redis.call('HSET', room, '.' .. ARGV[i], ARGV[i + 1])
end
at = at + 2 * count + 1
for i = at + 1, at + tonumber(ARGV[at]) do
  redis.call('HDEL', room, '.' .. ARGV[i])
end
redis.call('PEXPIRE', room, ttl)
for i = 3, #KEYS do
  local record = {ARGV[2 * i + 6], string.format('%.0f', version), refused[i], tag}
  redis.call('SET', KEYS[i], table.concat(record, ' '), 'PX', last_ttl)
end
redis.call(publish, channel, before_version .. '\207' .. struct.pack('>I8', version)
  .. '\196\8' .. (parent or string.rep('\0', 8)) .. after_parent)
return {'done', version, parent or string.rep('\0', 8)}
