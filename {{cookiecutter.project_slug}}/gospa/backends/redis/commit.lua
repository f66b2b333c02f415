-- Commits one change to a room: checks it, writes it and publishes it as a single step.
-- KEYS: the room's hash, its lock, then the record of each source of mutations.
-- ARGV: channel, room ttl (ms), tag, the message's two parts,
--       the writer, for how long it locks the room after a conflict (ms, '' for not at all),
--       '1' if the room is expected to exist, expected tag or '', the command that publishes,
--       '1' if the version is at least this clock,
--       the ttl (ms) of a new room if hooks or `load` alone make this change, or '',
--       for each source its first and last number, the ttl of its record (ms, 0: only compare),
--       refused numbers 'n n ...',
--       count of expectations, then key and value of each ('' where the key is to be absent),
--       count of expected epochs, then collection and epoch of each ('' for none),
--       count of sets, then key and value of each, count of deletes, then each key.
-- Returns {'done', version, parent}
--       | {'known', version of the room, the record of each source or false}
--       | {'conflict', {key, value or '', ... of the expectations that do not hold}}
--       | {'moved', {all fields of the hash}}
--       | {'unknown', error}: it failed after it had begun to write.
--
-- The hash has the head under 'h', layout 1: byte 1, version as uint 64, tag; while it has only been
-- visited, its ttl (ms) under 'v'; values under '.<key>';
-- and under '#<collection>' the tag of the last commit that created or deleted one of its items,
-- whose keys are '<collection>/<id>'.
-- A record, layout 1, is the msgpack array [1, last number, version, tag, [refused numbers]].

local room, lock = KEYS[1], KEYS[2]
local channel, ttl, tag, before_version, after_parent = unpack(ARGV, 1, 5)
local writer, lock_ttl, exists, expected_tag, publish, clocked, visit = unpack(ARGV, 6, 12)
local at = 13
local MAX_REFUSED = 512
local MAX_ARGUMENTS = 1000  -- of one command: Lua's stack holds 8,000

local function corrupt(key)
  return redis.error_reply('CORRUPT ' .. key .. ' is not of the layout that this release reads')
end

local version, parent = 0, string.rep('\0', 8)
local head = redis.call('HGET', room, 'h')
if head then
  if #head ~= 17 or string.byte(head) ~= 1 then return corrupt(room) end
  version, parent = struct.unpack('>I8c8', string.sub(head, 2))
elseif redis.call('EXISTS', room) == 1 then
  return corrupt(room)
end

local sources, known = {}, false
for i = 3, #KEYS do
  local stored = redis.call('GET', KEYS[i])
  local valid, record = true, {1, 0, 0, '', {}}
  if stored then valid, record = pcall(cmsgpack.unpack, stored) end
  if not valid or type(record) ~= 'table' or record[1] ~= 1 or type(record[2]) ~= 'number'
    or type(record[5]) ~= 'table' then return corrupt(KEYS[i]) end
  local first, last, record_ttl, refused = unpack(ARGV, at, at + 3)
  at = at + 4
  known = known or tonumber(first) <= record[2]
  for number in string.gmatch(refused, '%d+') do
    if tonumber(number) > record[2] then  -- another connection may have applied the others
      table.insert(record[5], tonumber(number))
    end
  end
  while #record[5] > MAX_REFUSED do table.remove(record[5], 1) end
  local updated = {1, tonumber(last), version, tag, record[5]}
  sources[i] = {stored = stored, updated = updated, ttl = record_ttl}
end
if known then
  local answer = {'known', version}
  for i = 3, #KEYS do answer[i] = sources[i].stored or false end
  return answer
end

local holder = redis.call('GET', lock)  -- after repeated conflicts of a writer, all others have to wait
local moved = (head and '1' or '0') ~= exists or (expected_tag ~= '' and expected_tag ~= parent)
local differ = {}
local count = tonumber(ARGV[at])
for i = at + 1, at + 2 * count, 2 do
  local value = redis.call('HGET', room, '.' .. ARGV[i]) or ''
  if value ~= ARGV[i + 1] then
    table.insert(differ, ARGV[i])
    table.insert(differ, value)
  end
end
at = at + 2 * count + 1
count = tonumber(ARGV[at])
for i = at + 1, at + 2 * count, 2 do
  moved = moved or (redis.call('HGET', room, '#' .. ARGV[i]) or '') ~= ARGV[i + 1]
end
if moved or #differ > 0 or (holder and holder ~= writer) then
  if not holder and lock_ttl ~= '' then
    redis.call('SET', lock, writer, 'PX', lock_ttl)
  end
  if moved then return {'moved', redis.call('HGETALL', room)} end
  return {'conflict', differ}
end
at = at + 2 * count + 1
count = tonumber(ARGV[at])
local deletes = at + 2 * count + 1
local writes = count > 0 or ARGV[deletes] ~= '0'
if writes and clocked == '1' then
  local time = redis.call('TIME')
  version = math.max(version, time[1] * 1000000 + time[2])
end
if writes then version = version + 1 end

local visited = redis.call('HGET', room, 'v')  -- its ttl if it has only been visited
local was_visited = visited
if visit == '' then visited = false elseif not head then visited = visit end
ttl = visited or ttl

local alarm = writes and redis.call('HGET', room, '.%alarm')  -- the time of its alarm (ms)
for i = at + 1, at + 2 * count, 2 do
  if ARGV[i] == '%alarm' then alarm = ARGV[i + 1] end
end
for i = deletes + 1, deletes + tonumber(ARGV[deletes]) do
  if ARGV[i] == '%alarm' then alarm = false end
end
local readable, due = pcall(cmsgpack.unpack, alarm or '')
if alarm and readable and type(due) == 'number' then
  local time = redis.call('TIME')
  ttl = ttl + math.max(due - time[1] * 1000 - math.floor(time[2] / 1000), 0)
end

local commands = {}
local function plan(...) table.insert(commands, {...}) end

local function plan_hset(field, value)
  local hset = commands[#commands]
  if not hset or hset[1] ~= 'HSET' or #hset > MAX_ARGUMENTS then
    plan('HSET', room)
    hset = commands[#commands]
  end
  table.insert(hset, field)
  table.insert(hset, value)
end

local function plan_deletes()
  for i = deletes + 1, deletes + tonumber(ARGV[deletes]) do
    plan('HDEL', room, '.' .. ARGV[i])
  end
end

local came_or_went = {}  -- collections
local function note(key, present)
  local slash = string.find(key, '/', 1, true)
  if slash and (redis.call('HGET', room, '.' .. key) and 1 or 0) ~= present then
    came_or_went[string.sub(key, 1, slash - 1)] = true
  end
end

if writes then
  -- If memory is full, Redis refuses a script at its first command, unless that frees memory.
  if count == 0 then plan_deletes() end
  plan_hset('h', '\1' .. struct.pack('>I8', version) .. tag)
  for i = at + 1, at + 2 * count, 2 do
    note(ARGV[i], 1)
    plan_hset('.' .. ARGV[i], ARGV[i + 1])
  end
  for i = deletes + 1, deletes + tonumber(ARGV[deletes]) do note(ARGV[i], 0) end
  for collection in pairs(came_or_went) do plan_hset('#' .. collection, tag) end
  if visited and not was_visited then plan_hset('v', visited) end
  if count > 0 then plan_deletes() end
  if was_visited and not visited then plan('HDEL', room, 'v') end
end
for i = 3, #KEYS do
  local source = sources[i]
  source.updated[3] = version
  if source.ttl ~= '0' then
    plan('SET', KEYS[i], cmsgpack.pack(source.updated), 'PX', source.ttl)
  end
end
if holder then plan('DEL', lock) end
local function emptied()
  local gone, left = {}, redis.call('HGETALL', room)
  for i = deletes + 1, deletes + tonumber(ARGV[deletes]) do gone['.' .. ARGV[i]] = true end
  for i = 1, #left, 2 do
    if string.sub(left[i], 1, 1) == '.' and not gone[left[i]] then return false end
  end
  return true
end

if writes then
  if visited and count == 0 and emptied() then
    plan('DEL', room)
  else
    plan('PEXPIRE', room, ttl)
  end
  plan(publish, channel, before_version .. '\207' .. struct.pack('>I8', version)
    .. '\196\8' .. parent .. after_parent)
end
-- All writes or none: check the user's permissions before the first (Redis 7 and Valkey).
for _, command in ipairs(redis.acl_check_cmd and commands or {}) do
  if not redis.acl_check_cmd(unpack(command)) then
    return redis.error_reply('NOPERM the user may not run ' .. command[1] .. ' for this')
  end
end
for i, command in ipairs(commands) do
  local answer = redis.pcall(unpack(command))
  if type(answer) == 'table' and answer.err then
    return i == 1 and answer or {'unknown', answer.err}
  end
end
return {'done', version, parent}
