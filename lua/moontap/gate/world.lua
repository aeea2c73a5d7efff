-- world: which calls of which effects change something outside the program, and what they are
-- called when that is told.

local schema = require "moontap.native.schema"

local M = {}

local SAFE <const> = { GET = true, HEAD = true, OPTIONS = true }

local function always() return true end

---Effect -> whether a call with these arguments changes something.
---@type table<string, fun(...): boolean>
M.CHANGES = {
  ["api.create"] = always,
  ["api.ownership.create"] = always,
  ["api.ownership.delete"] = always,
  ["api.ownership.validate"] = always,
  ["api.stop"] = always,
  ["file.open"] = function(_, mode) return mode ~= nil and tostring(mode):find "[wa+]" ~= nil end,
  ["file.remove"] = always,
  ["file.rename"] = always,
  ["http.request"] = function(request)
    local method = type(request) == "table" and request.method or "GET"
    return not SAFE[tostring(method):upper()]
  end,
  ["process.execute"] = function(command) return command ~= nil end,
  ["process.popen"] = always,
}

---@param name string effect
---@return boolean
function M.changes(name, ...)
  local changes = M.CHANGES[name]
  return changes ~= nil and changes(...)
end

local SUBJECTS <const> = {
  ["file.open"] = function(path) return "write " .. tostring(path) end,
  ["file.remove"] = function(path) return "remove " .. tostring(path) end,
  ["file.rename"] = function(from, to) return ("rename %s to %s"):format(from, to) end,
  ["http.request"] = function(request)
    return ("%s %s"):format(request.method, (tostring(request.url):gsub("%?.*", "?…")))
  end,
  ["process.execute"] = function(command) return "run " .. tostring(command) end,
  ["process.popen"] = function(command) return "run " .. tostring(command) end,
}

---What a call does, in a few words. No secret is in it.
---@param name string effect
---@return string
function M.describe(name, ...)
  local describe = SUBJECTS[name]
  if describe then return schema.redact(describe(...)) end
  local _, subject = ...
  local op = name:match "^api%.(.*)$" or name
  return type(subject) == "string" and ("%s %s"):format(op, subject) or op
end

return M
