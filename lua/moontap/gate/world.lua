-- world: which calls of which effects change something outside the program, and what they are
-- called when that is told.

local log = require "moontap.log"
local schema = require "moontap.native.schema"

local M = {}

local SAFE <const> = { GET = true, HEAD = true, OPTIONS = true }

local function always() return true end

-- The method of a request for moontap.http.request.
local function method_of(request)
  return tostring(request.method or (request.body and "POST" or "GET")):upper()
end

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
  ["file.tmpname"] = always,
  ["http.request"] = function(request)
    return not SAFE[method_of(request)] or request.to_file ~= nil
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

local function bucket(what)
  return function(_, params) return ("%s %s"):format(what, tostring(params.destination_conf)) end
end

local SUBJECTS <const> = {
  ["api.create"] = function(_, params)
    return ("create a %s capture"):format(tostring(params.type))
  end,
  ["api.ownership.create"] = bucket "claim the bucket",
  ["api.ownership.delete"] = function(_, id) return "delete the ownership " .. id end,
  ["api.ownership.validate"] = bucket "prove the ownership of",
  ["file.open"] = function(path) return "write " .. tostring(path) end,
  ["file.remove"] = function(path) return "remove " .. tostring(path) end,
  ["file.rename"] = function(from, to) return ("rename %s to %s"):format(from, to) end,
  ["file.tmpname"] = function() return "make a temporary file" end,
  ["http.request"] = function(request)
    local url = tostring(request.url):gsub("[?#].*", "?…")
    if not request.to_file then return ("%s %s"):format(method_of(request), url) end
    return ("%s %s to %s"):format(method_of(request), url, tostring(request.to_file))
  end,
  ["process.execute"] = function(command) return "run " .. tostring(command) end,
  ["process.popen"] = function(command) return "run " .. tostring(command) end,
}

---What a call does, in a few words. No secret is in it.
---@param name string effect
---@return string
function M.describe(name, ...)
  local describe = SUBJECTS[name]
  if describe then return log.redact(schema.redact(describe(...))) end
  local _, subject = ...
  local op = name:match "^api%.(.*)$" or name
  return type(subject) == "string" and ("%s %s"):format(op, subject) or op
end

return M
