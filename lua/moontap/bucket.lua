-- bucket: what full captures need of a bucket: its ownership proved before, its files found after.
-- Only the embedded simulator's bucket, a directory, can be looked into from here.

local config = require "moontap.config"
local effects = require "moontap.effects"
local errors = require "moontap.errors"
local sys = require "moontap.native.sys"

local M = {}

local SIMULATED <const> = "s3://moontap-sim/full?region=us-east-1"

-- A destination_conf without its parameters, some of which are keys.
local function bare(conf)
  return (conf:gsub("%?.*", ""))
end

---A bucket to try things with; there is one only on the embedded simulator.
---@return string|nil destination_conf
---@return table|nil err
function M.simulated()
  if config.sim then return SIMULATED end
  return nil, errors.new("usage", "name a bucket, such as s3://NAME/DIR?region=REGION")
end

---The directory of the embedded simulator that stands for a bucket.
---@param conf string destination_conf
---@return string|nil path
---@return table|nil err without an embedded simulator
function M.directory(conf)
  if not config.sim then
    return nil, errors.new("io", ("%s: what is in a real bucket is read with the bucket's own "
      .. "tools"):format(bare(conf)))
  end
  return config.sim.bucket .. "/" .. bare(conf):gsub("://", "/"):gsub("/+$", "")
end

local read_challenge = effects.define("bucket.read_challenge", function(ownership)
  local dir, err = M.directory(ownership.destination_conf)
  if not dir then return nil, err end
  local file, why = io.open(dir .. "/" .. ownership.filename)
  if not file then return nil, errors.new("io", why) end
  local content = file:read "a"
  file:close()
  return content
end)

---The content of the challenge that `ownership` put into its bucket.
---@param ownership table as pcaps.ownership.create returned it
---@return string|nil content
---@return table|nil err
function M.read_challenge(ownership)
  return read_challenge(ownership)
end

---Whether full captures may go to a bucket.
---@param conf string destination_conf
---@return boolean|nil is_validated
---@return table|nil err
function M.is_validated(conf)
  local pcaps = require "pcaps"
  local list, err = pcaps.ownership.list()
  if not list then return nil, err end
  for _, ownership in ipairs(list) do
    if ownership.status == "success" and bare(ownership.destination_conf or "") == bare(conf) then
      return true
    end
  end
  return false
end

---Proves to the embedded simulator that a bucket is ours, unless that was done before.
---@param conf string destination_conf
---@return true|nil
---@return table|nil err
---
---     assert(require "moontap.bucket".claim "s3://captures/test?region=us-east-1")
function M.claim(conf)
  local dir, err = M.directory(conf)
  if not dir then return nil, err end
  local is_validated
  is_validated, err = M.is_validated(conf)
  if err or is_validated then return is_validated, err end
  local pcaps = require "pcaps"
  local ownership, content
  ownership, err = pcaps.ownership.create { destination_conf = conf }
  if not ownership then return nil, err end
  content, err = M.read_challenge(ownership)
  if not content then return nil, err end
  ownership, err = pcaps.ownership.validate {
    destination_conf = conf, ownership_challenge = content,
  }
  if not ownership then return nil, err end
  return true
end

local list_files = effects.define("bucket.files", function(cap)
  local dir, err = M.directory(cap.destination_conf)
  if not dir then return nil, err end
  local paths = {}
  for _, name in ipairs(sys.list(dir) or {}) do
    if name:find(cap.id, 1, true) then paths[#paths + 1] = dir .. "/" .. name end
  end
  table.sort(paths)
  return paths
end)

---The files that a full capture left in the embedded simulator's bucket.
---@param cap table
---@return string[]|nil paths sorted
---@return table|nil err
function M.files(cap)
  return list_files(cap)
end

return M
