-- taking: one simple capture from the request to the file on disk, for `capture` and `sweep`.

local clock = require "moontap.clock"
local errors = require "moontap.errors"
local log = require "moontap.log"
local schema = require "moontap.native.schema"
local show = require "moontap.cmd.show"
local sys = require "moontap.native.sys"
local wanted = require "moontap.cmd.wanted"

local M = {}

---@class moontap.cmd.Taken
---@field cap table
---@field ray? string
---@field window { from: number, to: number }
---@field file string
---@field bytes integer
---@field packets? integer nil when the file could not be read
---@field is_full? boolean the packet limit was reached: there was more

-- What the capture looks at, as its answer says.
local function window_of(cap, window)
  local to = type(cap.offset_time) == "string" and clock.parse(cap.offset_time)
  local length = math.tointeger(tonumber(cap.time_limit))
  if not to or not length then return window end
  return { from = to - length, to = to }
end

-- Whether a failure says no more than that there was nothing to capture.
---@param text any error_message of a capture
---@return boolean
function M.is_empty_text(text)
  return type(text) == "string" and text:lower():find "no packets" ~= nil
end

local function fetch(args, cap, params, window)
  local placed, path = wanted.place(args, params.filter_v1, window, cap.id)
  if not placed then return nil, path end
  return cap:download(path)
end

-- A capture that failed because nothing matched is an empty one, without a file.
local function settle_failed(taken, err)
  if not M.is_empty_text(err.error_message) then return nil, err end
  taken.packets = 0
  return taken
end

---Waits for a simple capture and fetches its file.
---@param args table
---@param cap table
---@param params table it was asked for with
---@param window { from: number, to: number }
---@return moontap.cmd.Taken|nil
---@return table|nil err
function M.finish(args, cap, params, window)
  local taken = { cap = cap, ray = cap:ray(), window = window_of(cap, window) }
  local done, err = cap:wait()
  if not done then return settle_failed(taken, err) end
  taken.file, err = fetch(args, cap, params, taken.window)
  if not taken.file then return nil, err end
  local stat = sys.stat(taken.file)
  taken.bytes = stat and stat.size or 0
  local file, why = require "moontap.capture".open(taken.file)
  if file then
    taken.packets = file.packets
    taken.is_full = file.packets >= params.packet_limit
  else
    log.warn("%s", why.message)
  end
  return taken
end

---Opens a simple capture, waits for it and fetches its file.
---@param args table
---@param params table
---@param window { from: number, to: number }
---@param options table
---@return moontap.cmd.Taken|nil
---@return table|nil err
function M.take(args, params, window, options)
  local cap, err = require "pcaps".create(params, options)
  if not cap then return nil, err end
  if type(cap.id) ~= "string" then
    return nil, errors.new("api", "create was answered without an id: look with `moontap captures`")
  end
  local taken, why = M.finish(args, cap, params, window)
  if taken then return taken end
  if cap.status ~= "failed" then
    why.message = ("%s; moontap download %s fetches its file"):format(why.message, cap.id)
  end
  why.capture = cap.id
  return nil, why
end

---What `--json` prints of a capture.
---@param taken moontap.cmd.Taken
---@param args table
---@return table
function M.record(taken, args)
  local record = show.public(taken.cap)
  record.file, record.bytes, record.packets = taken.file, taken.bytes, taken.packets
  record.ray, record.case = taken.ray, args.case
  record.from, record.to = clock.format(taken.window.from), clock.format(taken.window.to)
  record.empty, record.limit_reached = taken.packets == 0, taken.is_full or false
  return record
end

---The parameters of a simple capture.
---@param filter table|nil
---@param window moontap.cmd.Window
---@param limit integer
---@return table
function M.params(filter, window, limit)
  return {
    type = "simple", filter_v1 = filter, packet_limit = limit, time_limit = window.to - window.from,
    offset_time = not window.is_now and clock.format(window.to) or nil,
  }
end

---The parameters as they go to the API, for comparing.
---@param params table
---@return table
function M.wire(params)
  return assert(schema.normalize("create", params, { allow_ipv6 = true }))
end

return M
