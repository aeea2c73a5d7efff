-- Directories that tests write to.

local lfs = require "lfs"
local os = require "os" -- the plain one: a test's effects are its own

local M = {}

--- Makes a new empty directory; returns its path.
---@return string path
function M.new()
  local path = os.tmpname()
  assert(os.remove(path))
  assert(lfs.mkdir(path))
  return path
end

--- Removes a directory made by `new` with all that is in it.
---@param path string
function M.remove(path)
  assert(path:find("^/tmp/lua_"), "not a directory of this module: " .. path)
  os.execute("rm -rf '" .. path .. "'")
end

--- Runs `fn(path)` with a new directory that is gone afterwards.
---@param fn fun(path: string): any
function M.with(fn)
  local path = M.new()
  local outcome = table.pack(pcall(fn, path))
  M.remove(path)
  if not outcome[1] then error(outcome[2], 0) end
  return table.unpack(outcome, 2, outcome.n)
end

return M
