-- lock: at most one run of a name at a time on this machine, for crontab lines. The lock goes away
-- with the process that holds it, however that ends.

local errors = require "moontap.errors"
local store = require "pcaps.store"
local sys = require "moontap.native.sys"

local M = {}

local PRIVATE <const> = 448 -- 0700

--- Takes the lock `name` without waiting.
---@param name string
---@return any|nil handle holds the lock until its release()
---@return table|nil err of kind "skipped" while another process holds it
---
---     local lock, err = require "moontap.lock".take "nightly"
function M.take(name)
  local root, err = store.directory()
  if not root then return nil, err end
  local dir = root .. "/locks"
  local ok, why = sys.mkdir_p(dir, PRIVATE)
  if not ok then return nil, why end
  local handle, problem = sys.lock(("%s/%s.lock"):format(dir, name))
  if handle then return handle end
  if problem ~= "locked" then return nil, problem end
  return nil, errors.new("skipped", ("skipped: another run holds the lock '%s'"):format(name))
end

return M
