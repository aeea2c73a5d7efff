-- faults: the ways in which a simulated exchange can go wrong. A kind either answers instead of the
-- operation, which is then not done, or does it and spoils what is answered.

local envelope = require "moontap.sim.envelope"
local json = require "moontap.json"
local refusals = require "moontap.sim.refusals"

local M = {}

---@class moontap.sim.FaultKind
---@field name string
---@field doc string
---@field params table<string, moontap.sim.FaultParam>
---@field ops table<string, true>|nil which operations it applies to; nil: all
---@field apply fun(rule: table, state: table, run: fun(): table): table the reply

---@class moontap.sim.FaultParam
---@field default any its type is the parameter's
---@field min? number
---@field max? number
---@field doc string

---@type moontap.sim.FaultKind[]
local KINDS = {}

local CAPTURES <const> = { create = true, get = true, list = true }
local CREATE <const> = { create = true }
local DOWNLOAD <const> = { download = true }
local JSON <const> = { create = true, get = true, list = true, ["ownership.create"] = true,
                       ["ownership.list"] = true, ["ownership.validate"] = true }

local function kind(name, ops, params, doc, apply)
  KINDS[#KINDS + 1] = { name = name, ops = ops, params = params, doc = doc, apply = apply }
end

local function seconds(default)
  return { default = default, min = 0, max = 86400, doc = "real seconds" }
end

local function status(default)
  return { default = default, min = 200, max = 599, doc = "HTTP status" }
end

local DONE <const> = { default = false, doc = "whether the operation is done all the same" }

-- A kind that answers in its own way, and does the operation first when its rule says so.
local function answer(make)
  return function(rule, state, run)
    if rule.done then run() end
    return make(rule, state)
  end
end

-- A kind that does the operation and changes the reply, when that is a success.
local function spoil(change)
  return function(rule, state, run)
    local reply = run()
    if reply.status > 299 then return reply end
    return change(reply, rule, state) or reply
  end
end

-- The same for the frame of a JSON answer.
local function reframe(change)
  return spoil(function(reply, rule, state)
    local frame = json.decode(reply.body or "")
    if type(frame) ~= "table" then return nil end
    change(frame, rule, state)
    local body = json.encode(frame)
    if frame.result == nil then body = body:gsub("^{", '{"result":null,', 1) end
    reply.body = body
  end)
end

-- Time ------------------------------------------------------------------------------------------

kind("latency", nil, { seconds = seconds(1) }, "the request is held up before it is handled; it "
  .. "is handled although the client may have left by then", function(rule, _, run)
  moontap.sleep(rule.seconds)
  return run()
end)
kind("late_answer", nil, { seconds = seconds(90) }, "the operation is done at once, and answered "
  .. "late", function(rule, _, run)
  local reply = run()
  moontap.sleep(rule.seconds)
  return reply
end)

-- Refusals --------------------------------------------------------------------------------------

kind("throttled", nil, { retry_after = seconds(2) }, "429 with retry-after; not done",
  answer(function(rule, state)
    local reply = refusals.reply(state.knobs, "throttled")
    reply.headers["Retry-After"] = ("%d"):format(math.ceil(rule.retry_after))
    return reply
  end))
kind("throttled_silent", nil, {}, "429 without retry-after; not done",
  answer(function(_, state) return refusals.reply(state.knobs, "throttled") end))
kind("error_json", nil, { status = status(500), done = DONE }, "an error in the API's frame",
  answer(function(rule)
    return envelope.fail(math.tointeger(rule.status),
      { envelope.entry(1000, "Internal error") })
  end))
kind("error_html", nil, { status = status(502), done = DONE }, "an error page of the edge",
  answer(function(rule)
    return { status = math.tointeger(rule.status), headers = { ["Content-Type"] = "text/html" },
             body = ("<html>\r\n<head><title>%d</title></head>\r\n<body><center><h1>%d</h1>"
               .. "</center></body>\r\n</html>\r\n"):format(rule.status, rule.status) }
  end))
kind("not_success", nil, {}, "status 200 with success false; not done", answer(function()
  return envelope.fail(200, { envelope.entry(1000, "The request could not be handled") })
end))

-- The connection --------------------------------------------------------------------------------

kind("cut_before", nil, {}, "the connection is closed before the operation is done",
  answer(function() return { cut = "before" } end))
kind("cut_after", nil, {}, "the operation is done, and the connection closed without an answer",
  function(_, _, run)
    run()
    return { cut = "before" }
  end)
kind("cut_middle", nil, {}, "the operation is done, and the connection closed in the middle of "
  .. "the answer", function(_, _, run)
  local reply = run()
  reply.cut = "middle"
  return reply
end)
kind("silent", nil, { done = DONE }, "no answer at all; the connection stays open",
  answer(function() return { cut = "silent" } end))

-- JSON that is none -----------------------------------------------------------------------------

kind("empty", nil, {}, "done; status 200 with an empty body", spoil(function(reply)
  reply.status, reply.body = 200, ""
end))
kind("truncated_json", JSON, {}, "done; the JSON ends in the middle, the HTTP does not",
  spoil(function(reply) reply.body = reply.body:sub(1, #reply.body // 2) end))
kind("malformed_json", JSON, {}, "done; the answer is not JSON", spoil(function(reply)
  reply.body = '{"success":true,"errors":[],"result":{"id":}}'
end))
kind("huge_json", JSON, { bytes = { default = 20000000, min = 1, max = 268435456,
                                    doc = "size of what is added" } },
  "done; the answer is valid and enormous", reframe(function(frame, rule)
    frame.padding = ("x"):rep(math.tointeger(rule.bytes))
  end))

-- JSON that is wrong ----------------------------------------------------------------------------

local function twist(value)
  if type(value) == "string" then return 7 end
  if type(value) == "table" then return "none" end
  return { tostring(value) }
end

local function twist_fields(object)
  for name, value in pairs(object) do
    if name ~= "id" then object[name] = twist(value) end
  end
end

kind("wrong_types", JSON, {}, "done; fields have other types, ids are as they were",
  reframe(function(frame)
    local result = frame.result
    if type(result) ~= "table" then return end
    if result.id then return twist_fields(result) end
    for _, entry in ipairs(result) do twist_fields(entry) end
  end))
kind("null_result", JSON, {}, "done; the result is null", reframe(function(frame)
  frame.result = nil
end))
kind("unknown_status", CAPTURES, { status = { default = "queued", doc = "the word" } },
  "done; captures have a status that nobody has heard of", reframe(function(frame, rule)
    local result = type(frame.result) == "table" and frame.result or {}
    if result.status then result.status = rule.status end
    for _, entry in ipairs(result) do entry.status = rule.status end
  end))

-- Captures --------------------------------------------------------------------------------------

-- Gives the capture that a create has opened a fate of its own.
local function destine(fate_of)
  return spoil(function(reply, rule, state)
    local frame = json.decode(reply.body)
    local capture = frame and frame.result and state.capture_by_id[frame.result.id]
    if capture then capture.fate = fate_of(rule) end
  end)
end

kind("never_ends", CREATE, {}, "the capture is running for ever, or until it is stopped",
  destine(function() return { status = "running", is_busy = true } end))
kind("fails", CREATE, { message = { default = "The capture could not be completed",
                                    doc = "its error_message" } },
  "the capture fails with an error_message", destine(function(rule)
    return { status = "failed", error_message = rule.message }
  end))

-- Files -----------------------------------------------------------------------------------------

kind("truncated_download", DOWNLOAD, {}, "the file ends within a packet, the HTTP does not",
  spoil(function(reply) reply.body = reply.body:sub(1, math.max(30, #reply.body - 7)) end))
kind("corrupted_download", DOWNLOAD, {}, "the head of the first packet is overwritten",
  spoil(function(reply)
    reply.body = reply.body:sub(1, 24) .. ("\255"):rep(16) .. reply.body:sub(41)
  end))
kind("foreign_download", DOWNLOAD, {}, "status 200 with a page instead of the file",
  spoil(function(reply)
    reply.headers["Content-Type"] = "text/html"
    reply.body = "<html><body>Please sign in</body></html>\n"
  end))

local BY_NAME, NAMES = {}, {}
for i, entry in ipairs(KINDS) do
  BY_NAME[entry.name], NAMES[i] = entry, entry.name
end

---All kinds in the order in which help shows them.
---@return moontap.sim.FaultKind[]
function M.kinds()
  return KINDS
end

---@return string[]
function M.names()
  return NAMES
end

---@param name string
---@return moontap.sim.FaultKind|nil
function M.kind(name)
  return BY_NAME[name]
end

return M
