-- atomic: transactions whose body may give up with must().

local host = require "moontap.native.host"

local M = {}

local Failed = {}

---The results of a statement that must work; else the transaction around it is rolled back.
function M.must(ok, ...)
  if ok == nil then error(setmetatable({ err = (...) }, Failed), 0) end
  return ok, ...
end

---Runs `fn`, in which must() may give up.
---@param fn function
---@return any ... what fn returns; nil and an error
function M.try(fn, ...)
  local results = table.pack(pcall(fn, ...))
  if results[1] then return table.unpack(results, 2, results.n) end
  if getmetatable(results[2]) == Failed then return nil, results[2].err end
  error(results[2], 0)
end

---Runs `fn` in a transaction in which must() may give up.
---@param db any
---@param is_durable boolean|"last" it is on the disk when this returns; not in virtual time, which
---  no power failure ends. "last": an error with `is_done` leaves it as it would be without one
---@param fn function
---@return any ... what fn returns; nil and an error
function M.run(db, is_durable, fn)
  return M.try(db.transaction, db, not host.is_virtual() and is_durable, fn)
end

return M
