-- rng: seeded pseudo-random integers of the simulator's own.
--
-- Everything that a simulator makes up follows from its seed, so this is
-- plain 64-bit integer arithmetic (the finaliser of splitmix64): the same on
-- every machine, no state but the one that a stream carries. Not for secrets
-- that matter.

local M = {}

local GOLDEN <const> = 0x9E3779B97F4A7C15

---Scrambles 64 bits. `mix(key + i * odd)` is the i-th number of KEY's sequence.
---@param z integer
---@return integer
local function mix(z)
  z = (z ~ (z >> 30)) * 0xBF58476D1CE4E5B9
  z = (z ~ (z >> 27)) * 0x94D049BB133111EB
  return z ~ (z >> 31)
end
M.mix = mix

---A key that depends on KEY and on a string, a whole number or a float.
---@param key integer
---@param what string|number
---@return integer
function M.derive(key, what)
  local text = math.type(what) == "integer" and what or tostring(what)
  if math.type(text) == "integer" then
    return mix(key ~ mix(text + GOLDEN))
  end
  local hash = 0xCBF29CE484222325
  for i = 1, #text do
    hash = (hash ~ text:byte(i)) * 0x100000001B3
  end
  return mix(key ~ mix(hash))
end

---A function that returns the next number of KEY's sequence at each call.
---@param key integer
---@return fun(): integer
function M.stream(key)
  return function()
    key = key + GOLDEN
    return mix(key)
  end
end

---N bytes that depend on KEY.
---@param key integer
---@param n integer
---@return string
function M.bytes(key, n)
  local next_number = M.stream(key)
  local parts = {}
  for i = 1, (n + 7) // 8 do
    parts[i] = string.pack("<i8", next_number())
  end
  return table.concat(parts):sub(1, n)
end

---N lower-case hexadecimal digits that depend on KEY.
---@param key integer
---@param n integer
---@return string
function M.hex(key, n)
  return (M.bytes(key, (n + 1) // 2):gsub(".", function(c)
    return ("%02x"):format(c:byte())
  end):sub(1, n))
end

---A version 4 UUID without dashes.
---@param key integer
---@return string
function M.uuid4(key)
  local digits = M.hex(key, 32)
  local variant = ("89ab"):sub(tonumber(digits:sub(17, 17), 16) % 4 + 1):sub(1, 1)
  return digits:sub(1, 12) .. "4" .. digits:sub(14, 16) .. variant .. digits:sub(18)
end

-- 100 ns ticks between 1582-10-15, where version 1 UUIDs start, and 1970.
local UUID_EPOCH <const> = 0x01B21DD213814000

---A version 1 UUID without dashes: the time in microseconds since 1970, and a
---clock sequence and node that depend on KEY.
---@param us integer
---@param key integer
---@return string
function M.uuid1(us, key)
  local ticks = us * 10 + UUID_EPOCH + (mix(key) & 7)
  return ("%08x%04x%04x%04x%s"):format(ticks & 0xFFFFFFFF, ticks >> 32 & 0xFFFF,
    0x1000 | ticks >> 48 & 0x0FFF, 0x8000 | mix(key + 1) & 0x3FFF, M.hex(key + 2, 12))
end

return M
