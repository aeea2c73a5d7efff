-- runner: runs a function of a playbook in a process of its own, shut in (docs/sandbox.md).

local errors = require "moontap.errors"
local protocol = require "moontap.child.protocol"
local session = require "moontap.child.session"

local M = {}

local TIMEOUT <const> = 1200

M.file = session.file

-- What the end of a process means for who waits for the run: the kind of the error, and words.
local MEANING = {
  deadline = { "timeout", "the playbook did not stop in time" },
  memory = { "memory", "the playbook used all the memory it may have" },
  cpu = { "cpu", "the playbook used all the processor time it may have" },
  frames = { "frames", "the playbook's process did not keep to the protocol" },
  output = { "output", "the playbook printed more than it may" },
  seccomp = { "denied", "the playbook's process made a forbidden system call" },
  killed = { "crash", "the playbook's process was killed" },
  crashed = { "crash", "the playbook's process crashed" },
  exited = { "crash", "the playbook's process left" },
  no_sandbox = { "sandbox", "no process can be shut in here" },
  not_started = { "io", "the playbook's process could not be started" },
}

--- The error that the end of a process is.
---@param ended table of child:wait()
---@return table err kind, reason
function M.ending(ended)
  local meaning = MEANING[ended.reason]
  local message = meaning[2]
  if ended.detail then message = message .. ": " .. ended.detail end
  if ended.reason == "crashed" then message = ("%s (signal %d)"):format(message, ended.signal) end
  return errors.new(meaning[1], message, { reason = ended.reason, signal = ended.signal,
                                           status = ended.status })
end

-- Text from the process, fit for a terminal and a log.
local function clean(run, text)
  text = text:gsub("[%c\127]", function(c) return (c == "\n" or c == "\t") and c or "?" end)
  return run.output.mask(text)
end

local function outcome(run, frame, ended)
  if not frame then
    local err = M.ending(ended)
    if run.timed_out and err.kind ~= "frames" then
      err.kind, err.message = "timeout", "time was up and " .. err.message
    end
    return nil, err
  end
  if not frame.err then return protocol.unpack(frame.values) end
  local err = protocol.to_error(frame.err)
  err.reason, err.message = err.kind, clean(run, err.message)
  err.traceback = err.traceback and clean(run, err.traceback)
  if run.timed_out and err.kind == "cancelled" then
    err.kind, err.message = "timeout", "time was up"
  end
  return nil, err
end

local function source_of(files)
  if type(files) == "function" then return files end
  return function(name)
    local stem = name:gsub("%.", "/")
    for _, path in ipairs { stem .. ".lua", stem .. "/init.lua" } do
      if files[path] then return files[path], path end
    end
  end
end

--- Runs `fn` of the table that the file `entry` returns. Waits.
---@param options table files: path → text; entry: path; fn: name of a function ("run"), args: list
---  of what it gets (or ctx: one table); effects: name → function; limits: memory, cpu, timeout,
---  grace, waits, frame_max, per_second, output_max, log_max; tz; seed; speed; on_log(line);
---  mask(text); secrets: list, see output; on_start(session): may keep it to
---  cancel the run
---@return any result what the function returned; nil and an error of kind timeout, memory, cpu,
---  frames, output, denied, crash, cancelled, script or what the playbook returned
---@return table|nil err
---@return table|nil info when it failed: cpu, max_rss, output
---
---     local result, err = runner.run { files = { ["a.lua"] = text }, entry = "a.lua", ctx = {} }
function M.run(options)
  local run, err = session.open(options)
  if not run then return nil, err end
  local _ <close> = run
  if options.on_start then options.on_start(run) end
  local limits = options.limits or {}
  local args = options.args or { options.ctx or {} }
  local frame, ended = run:evaluate({
    mode = "run", entry = options.entry, source = options.files[options.entry],
    fn = options.fn or "run", args = protocol.pack(table.unpack(args, 1, args.n or #args)),
    seed = options.seed, speed = options.speed,
  }, {
    effects = options.effects, source = source_of(options.files),
    timeout = limits.timeout or TIMEOUT,
  })
  local results = table.pack(outcome(run, frame, ended))
  local info = run:close()
  if options.on_end then options.on_end(info) end
  if not frame or frame.err then return nil, results[2], info end
  return table.unpack(results, 1, results.n)
end

return M
