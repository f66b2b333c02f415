-- Commits one change to a room: checks it, writes it and publishes it as a single step.
-- KEYS: the room's hash, whose turn it is, then the last mutation of each client concerned.
-- ARGV: channel, room ttl, mutation ttl (both ms), tag, head, tail,
--       the writer, how long it gets the turn if it loses (ms, '' for not at all),
--       '1' if the room is expected to exist, expected tag or '', the command that publishes,
--       for each client the number of its mutation and ',' or ',n,n,...,' with those refused,
--       count of expectations, then key and value of each ('' where the key is to be absent),
--       count of sets, then key and value of each, count of deletes, then each key.
-- Returns {'done', version, parent or '' if unknown} | {'repeated', version} | {'refused'} | {'conflict', {all fields of the hash}}.

local room, turn = KEYS[1], KEYS[2]
local channel, ttl, last_ttl, tag, head, tail = unpack(ARGV, 1, 6)
local writer, turn_ttl, exists, expected_tag, publish = unpack(ARGV, 7, 11)
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
    -- The chain may have begun anew since: a version beyond it would be waited for.
    local newest = tonumber(redis.call('HGET', room, 'v') or '0')
    return found and {'refused'} or {'repeated', math.min(tonumber(version), newest)}
  end
  for later in string.gmatch(ARGV[at + 1], '%d+') do
    if tonumber(later) > tonumber(n) then  -- another connection may have had better luck with others
      before = before .. later .. ','
    end
  end
  refused[i] = string.match(string.sub(before, -1024), ',.*')
  at = at + 2
end

local parent = redis.call('HGET', room, 't')
local first = redis.call('GET', turn)  -- who lost so often that all others have to wait
local kept = (not first or first == writer)
  and (parent and '1' or '0') == exists
  and (expected_tag == '' or expected_tag == parent)
local count = tonumber(ARGV[at])
for i = at + 1, at + 2 * count, 2 do
  kept = kept and (redis.call('HGET', room, '.' .. ARGV[i]) or '') == ARGV[i + 1]
end
if not kept then
  if not first and turn_ttl ~= '' then
    redis.call('SET', turn, writer, 'PX', turn_ttl)
  end
  return {'conflict', redis.call('HGETALL', room)}
end
at = at + 2 * count + 1

if first then
  redis.call('DEL', turn)
end
local version = redis.call('HINCRBY', room, 'v', 1)
redis.call('HSET', room, 't', tag)
count = tonumber(ARGV[at])
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
redis.call(publish, channel, head .. '\207' .. struct.pack('>I8', version)
  .. '\196\8' .. (parent or string.rep('\0', 8)) .. tail)
return {'done', version, parent or string.rep('\0', 8)}
