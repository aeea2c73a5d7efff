-- pcaps: packet captures on Magic Transit. The functions of this module work on the default
-- client; pcaps.client{…} gives the same functions for another account.

local client = require "pcaps.client"
local schema = require "moontap.native.schema"

local default = client.default()

local M = {
  client = client.new,

  --- Opens a capture. Returns it, or nil and an error; never opens two for one call.
  ---@type fun(params: table, options?: table): table|nil, table|nil
  ---
  ---     local cap = assert(pcaps.create {
  ---       type = "simple", time_limit = 300, packet_limit = 10000,
  ---     })
  create = default.create,

  --- The captures of the account, finished and running, at most 50, the newest first.
  ---@type fun(options?: table): table[]|nil, table|nil
  list = default.list,

  --- One capture by its id.
  ---@type fun(id: string, options?: table): table|nil, table|nil
  get = default.get,

  --- Stops a full capture.
  ---@type fun(id: string, options?: table): true|nil, table|nil
  stop = default.stop,

  --- Downloads the file of a simple capture and returns its path. Without a path it goes into
  --- the state directory.
  ---@type fun(id: string, path?: string, options?: table): string|nil, table|nil
  download = default.download,

  --- Buckets that full captures may go to: create, list, delete, validate.
  ownership = default.ownership,
}

--- A name that is none is an error here already, not a nil that is called later.
local function missing(kind)
  return function(members, name)
    local names = {}
    for known in pairs(members) do names[#names + 1] = known end
    local near = schema.near(tostring(name), names)
    error(("%s has no member '%s'%s"):format(kind, tostring(name),
      near and "; did you mean '" .. near .. "'?" or ""), 2)
  end
end

setmetatable(M, { __index = missing "pcaps" })
setmetatable(M.ownership, { __index = missing "pcaps.ownership" })

return M
