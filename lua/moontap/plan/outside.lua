-- outside: files, processes and HTTP of a script in a world. Nothing is written, started or sent
-- that changes something.

local gate_world = require "moontap.gate.world"
local sys = require "moontap.native.sys"
local World = require "moontap.plan.world"

local M = {}

local TEXT_MAX <const> = 1 << 26
local ENOENT <const> = 2
local PACKET <const> = 80 -- bytes of an invented one, with its head

-- Files ----------------------------------------------------------------------------------------

-- The file as the plan knows it; reading it is where the plan ends.
local function check_read(world, path)
  world:check()
  local planned = world:planned_file(path)
  if planned then
    world:stop("undecided", ("the script reads %s, which step %d would have changed"):format(
      world:plain(path), planned.step))
  elseif world:is_invented(path) then
    world:stop("undecided", ("the script reads %s, whose name is invented"):format(
      world:plain(path)))
  end
end

local function missing(path)
  return nil, path .. ": No such file or directory", ENOENT
end

-- A file of no name, with what `path` holds where the mode keeps that.
local function stand_in(path, mode)
  local file <const> = assert(io.tmpfile())
  if mode:find "[ra]" then
    local text = sys.read_file(path, TEXT_MAX)
    if text then
      file:write(text)
      if mode:find "^r" then file:seek "set" end
    end
  end
  return file
end

M["file.open"] = function(world, next, path, mode)
  local is_good = type(path) == "string" and (mode == nil or tostring(mode):find "^[rwa]%+?b?$")
  if not is_good then return next(path, mode) end -- it raises
  if not gate_world.changes("file.open", path, mode) then
    check_read(world, path)
    return next(path, mode)
  end
  if not mode:find "^w" then check_read(world, path) end
  if mode:find "^r" and not sys.stat(path) then return missing(path) end
  local dir = path:match "^(.*)/[^/]*$"
  if dir and dir ~= "" and not sys.stat(dir) then return missing(path) end
  local step = world:step("file.write", { path = path, mode = mode })
  world:plan_file(path, { step = step.number })
  return stand_in(path, mode)
end

M["file.remove"] = function(world, next, path)
  if type(path) ~= "string" then return next(path) end
  local planned = world:planned_file(path)
  if not planned and not sys.stat(path) then return missing(path) end
  local step = world:step("file.remove", { path = path })
  world:plan_file(path, { step = step.number })
  return true
end

M["file.rename"] = function(world, next, from, to)
  if type(from) ~= "string" or type(to) ~= "string" then return next(from, to) end
  local planned = world:planned_file(from)
  if not planned and not sys.stat(from) then return missing(from) end
  local step = world:step("file.rename", { from = from, to = to })
  world:plan_file(to, { step = step.number, is_capture = planned and planned.is_capture,
                       most = planned and planned.most })
  world:plan_file(from, { step = step.number })
  return true
end

M["file.tmpname"] = function(world)
  local step = world:step("file.tmpname", {})
  local path = "/tmp/lua_" .. world:token("the file of step " .. step.number)
  world:give(step, { name = path })
  world:plan_file(path, { step = step.number })
  return path
end

M["input.read"] = function(world, next, ...)
  local formats = table.pack(...)
  return world:read("input.read", formats, function()
    return next(table.unpack(formats, 1, formats.n))
  end)
end

-- What a planned download holds.
M["capture.open"] = function(world, next, path, ...)
  local planned = type(path) == "string" and world:planned_file(path)
  if not planned then return next(path, ...) end
  if not planned.is_capture then check_read(world, path) end
  local packets = world.values.is_file_empty and 0 or planned.most or World.PACKETS
  local now = world:now() // 1
  local file = { path = path, packets = packets, bytes = 24 + packets * PACKET, snaplen = 65535,
                 link_type = 1, first = packets > 0 and now - 60 or nil,
                 last = packets > 0 and now or nil }
  world:give(planned.step, { ["packets in the file"] = packets,
                             ["bytes of the file"] = file.bytes })
  return file
end

-- Processes ------------------------------------------------------------------------------------

M["process.execute"] = function(world, next, command)
  if type(command) ~= "string" then return next(command) end
  local step = world:step("process.execute", { command = command })
  local succeeds = world.values.succeeds
  world:give(step, { ["exit status"] = succeeds and 0 or 1 })
  return succeeds or nil, "exit", succeeds and 0 or 1
end

M["process.popen"] = function(world, next, command, mode)
  local is_good = type(command) == "string" and (mode == nil or mode == "r" or mode == "w")
  if not is_good then return next(command, mode) end -- it raises
  local step = world:step("process.popen", { command = command, mode = mode })
  local file <const> = assert(io.tmpfile())
  if mode ~= "w" then
    file:write(world.values.output)
    file:seek "set"
    world:give(step, { output = world.values.output })
  end
  return file
end

-- HTTP -----------------------------------------------------------------------------------------

M["http.request"] = function(world, next, request)
  if not gate_world.changes("http.request", request) then
    return world:read("http.request", request, function() return next(request) end)
  end
  local step = world:step("http.request", request)
  local values = world.values
  local response = { status = values.http_status, headers = {}, url = request.url, elapsed = 0.1,
                     body = values.http_body }
  if request.to_file and values.succeeds then
    response.body, response.file = nil, request.to_file
  end
  if request.to_file then world:plan_file(request.to_file, { step = step.number }) end
  world:give(step, { ["HTTP status"] = response.status, body = values.http_body })
  return response
end

return M
