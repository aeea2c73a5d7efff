-- random: the host's randomness, through the effects "random" (numbers) and "random.bytes". Once
-- seeded, both follow from the seed alone, so that a run in virtual time can be repeated.

local effects = require "moontap.effects"
local sys = require "moontap.native.sys"

local M = {}

local draw = effects.define("random", math.random)
local reseed = effects.define("randomseed", math.randomseed)
local seeded = false

--- A number from 0 up to, not including, 1.
---@return number
function M.uniform()
  return draw()
end

--- An integer from `low` to `high`, both included.
---@param low integer
---@param high integer
---@return integer
function M.integer(low, high)
  return draw(low, high)
end

local function make_bytes(n)
  if not seeded then return sys.random_bytes(n) end
  local list = {}
  for i = 1, n do list[i] = string.char(draw(0, 255)) end
  return table.concat(list)
end

local bytes = effects.define("random.bytes", make_bytes)

--- `n` random bytes: from the system's generator, unless seeded.
---@param n integer 0 to 65536
---@return string
---
---     local id = random.bytes(16):gsub(".", function(c) return ("%02x"):format(c:byte()) end)
function M.bytes(n)
  return bytes(n)
end

--- From now on everything follows from `seed`.
---@param seed integer
function M.seed(seed)
  seeded = true
  reseed(seed)
end

return M
