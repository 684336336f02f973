"""What the store in Redis or Valkey does in one step: Lua, which the server runs.

A deployment has one hash. It is there as a whole or not at all, whoever deletes or evicts it, so
offsets never outlive the lists that they speak of. Its fields, by their first letter:

========== ==========================================================================
``l`` user a list, behind its head: partition (4 bytes), offset (8), rank (25)
``o`` n    the offset behind the last record of partition n
``n`` name ``nlife``, ``nform``, ``npartitions``; ``nfilled`` and ``nfollowed`` (empty before it
           was) in ms since 1970, by the clock of the store
========== ==========================================================================
"""

from __future__ import annotations

from typing import Final

_NOW: Final = """
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
"""

#: Returns life, form, ms since it was filled and since it was followed (empty where it never was),
#: and the offsets; nothing where there is no life.
STATE: Final = (
    _NOW
    + """
local held = redis.call('HMGET', KEYS[1], 'nlife', 'nform', 'nfilled', 'nfollowed', 'npartitions')
if not held[1] then return {} end
local function ago(ms) return ms and ms ~= '' and string.format('%.0f', now - ms) or '' end
local found = {held[1], held[2] or '', ago(held[3]), ago(held[4])}
for n = 0, tonumber(held[5] or 0) - 1 do
  local offset = redis.call('HGET', KEYS[1], 'o' .. n)
  if offset then found[#found + 1] = n .. ':' .. offset end
end
return found
"""
)

#: ARGV: the life that it takes the place of, the new one, form, ms until the hash expires, then
#: partition and offset by turns.
BEGIN: Final = (
    _NOW
    + """
if (redis.call('HGET', KEYS[1], 'nlife') or '') ~= ARGV[1] then return 0 end
redis.call('UNLINK', KEYS[1])
redis.call('HSET', KEYS[1], 'nlife', ARGV[2], 'nform', ARGV[3], 'nfilled', now, 'nfollowed', '')
redis.call('HSET', KEYS[1], 'npartitions', (#ARGV - 4) / 2)
for i = 5, #ARGV, 2 do redis.call('HSET', KEYS[1], 'o' .. ARGV[i], ARGV[i + 1]) end
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return 1
"""
)

#: Whether bytes are above others: Lua compares texts as the store's locale sorts them.
_IS_ABOVE: Final = """
local function is_above(one, first, other, n)
  for i = 1, n do
    local a, b = string.byte(one, first + i - 1), string.byte(other, i)
    if a ~= b then return a > b end
  end
  return false
end
"""

#: ARGV: field, and the first 8 bytes of the highest rank that goes.
REMOVE: Final = (
    _IS_ABOVE
    + """
local held = redis.call('HGET', KEYS[1], ARGV[1])
if held and not is_above(held, 13, ARGV[2], 8) then redis.call('HDEL', KEYS[1], ARGV[1]) end
"""
)

#: ARGV: life, ms until the hash expires, 1 where the server has all of the topic, the number of
#: spans, then partition, first and end of each. With one span, changes may follow: the partition's
#: 4 bytes, then offset, field, and head and list (empty for a removal) of each. Returns the
#: offsets before, by span; nothing where the life is another one or records are missing.
APPLY: Final = (
    _NOW
    + _IS_ABOVE
    + """
local hash, spans = KEYS[1], tonumber(ARGV[4])
if redis.call('HGET', hash, 'nlife') ~= ARGV[1] then return nil end
local known = {}
for i = 1, spans do
  known[i] = redis.call('HGET', hash, 'o' .. ARGV[3 * i + 2])
  if not known[i] or tonumber(known[i]) < tonumber(ARGV[3 * i + 3]) then return nil end
end
local partition = ARGV[3 * spans + 5]
for i = 3 * spans + 6, #ARGV, 3 do
  if tonumber(ARGV[i]) >= tonumber(known[1]) then
    local field, list = ARGV[i + 1], ARGV[i + 2]
    local held = redis.call('HGET', hash, field)
    if list == '' then
      if held and string.sub(held, 1, 4) == partition then redis.call('HDEL', hash, field) end
    elseif not held or is_above(list, 13, string.sub(held, 13, 37), 25) then
      redis.call('HSET', hash, field, list)
    end
  end
end
for i = 1, spans do
  local last = ARGV[3 * i + 4]
  if tonumber(last) > tonumber(known[i]) then redis.call('HSET', hash, 'o' .. ARGV[3 * i + 2], last) end
end
redis.call('HSET', hash, 'nfilled', now)
if ARGV[3] == '1' then redis.call('HSET', hash, 'nfollowed', now) end
redis.call('PEXPIRE', hash, ARGV[2])
return known
"""
)
