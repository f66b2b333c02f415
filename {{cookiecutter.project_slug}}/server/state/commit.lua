-- Commits one change to a room: checks it, writes it and publishes it as a single step.
-- KEYS: the room's hash, whose turn it is, the client's last mutation (unused without a number).
-- ARGV: channel, room ttl, mutation ttl (both ms), mutation number or '', tag, head, tail,
--       the writer, how long it gets the turn if it loses (ms, '' for not at all),
--       '1' if the room is expected to exist, expected tag or '', the command that publishes,
--       count of expectations, then key and value of each ('' where the key is to be absent),
--       count of sets, then key and value of each, count of deletes, then each key,
--       then each mutation number of the client that was refused.
-- Returns {'done', version, parent or '' if unknown} | {'repeated', version} | {'refused'} | {'conflict', {all fields of the hash}}.

local room, turn, last = KEYS[1], KEYS[2], KEYS[3]
local channel, ttl, last_ttl, mutation, tag, head, tail = unpack(ARGV, 1, 7)
local writer, turn_ttl, exists, expected_tag, publish = unpack(ARGV, 8, 12)
local at = 13
local number, refused = 0, ','

if mutation ~= '' then
  -- The client's last mutation: number, version, numbers refused before it, tag of its commit.
  local n, version, before, by =
    string.match(redis.call('GET', last) or '', '^(%d+) (%d+) (%S*) (.*)$')
  if by == tag then  -- this very commit, sent again because its answer was lost
    return {'done', tonumber(version), ''}
  elseif n and tonumber(mutation) <= tonumber(n) then
    local found = string.find(before, ',' .. mutation .. ',', 1, true)
    return found and {'refused'} or {'repeated', tonumber(version)}
  elseif n then
    number, refused = tonumber(n), before
  end
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
if mutation ~= '' then
  for i = at + 1 + tonumber(ARGV[at]), #ARGV do
    if tonumber(ARGV[i]) > number then  -- another connection may have had better luck with others
      refused = refused .. ARGV[i] .. ','
    end
  end
  refused = string.match(string.sub(refused, -1024), ',.*')
  local record = {mutation, string.format('%.0f', version), refused, tag}
  redis.call('SET', last, table.concat(record, ' '), 'PX', last_ttl)
end
redis.call(publish, channel, head .. '\207' .. struct.pack('>I8', version)
  .. '\196\8' .. (parent or string.rep('\0', 8)) .. tail)
return {'done', version, parent or string.rep('\0', 8)}
