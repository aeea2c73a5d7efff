-- metrics: what a daemon has done, as Prometheus reads it, and whether it is well. It only reads,
-- so that it cannot fail a run.

local clock = require "moontap.clock"
local errors = require "moontap.errors"
local tally = require "moontap.cron.tally"
local tzdb = require "moontap.tzdb"

local M = {}

local PREFIX <const> = "moontap_playbook_"
local WELL_WITHIN <const> = 30 -- seconds since the last tick

local function quote(value)
  return ('"%s"'):format((tostring(value):gsub('[\\"\n]', { ["\\"] = "\\\\", ['"'] = '\\"',
    ["\n"] = "\\n" })))
end

local function labels(list)
  local parts = {}
  for i = 1, #list, 2 do parts[#parts + 1] = ("%s=%s"):format(list[i], quote(list[i + 1])) end
  return #parts > 0 and "{" .. table.concat(parts, ",") .. "}" or ""
end

local function number(value)
  if value == math.huge then return "+Inf" end
  return math.type(value) == "integer" and ("%d"):format(value) or ("%.6g"):format(value)
end

-- Seconds since 1970 must keep their digits.
local function instant(value)
  return ("%.3f"):format(value)
end

local function writer()
  local out = { lines = {} }
  function out.head(name, kind, help)
    out.lines[#out.lines + 1] = ("# HELP %s %s\n# TYPE %s %s"):format(name, help, name, kind)
  end
  function out.put(name, list, value, format)
    out.lines[#out.lines + 1] = ("%s%s %s"):format(name, labels(list), (format or number)(value))
  end
  return out
end

local function each(engine)
  local names = {}
  for name in pairs(engine.playbooks) do names[#names + 1] = name end
  table.sort(names)
  local i = 0
  return function()
    i = i + 1
    if names[i] then return names[i], engine.tally:of(names[i]), engine.entries[names[i]] end
  end
end

local function put_durations(out, engine)
  local name = PREFIX .. "run_duration_seconds"
  out.head(name, "histogram", "How long runs took.")
  for playbook, one in each(engine) do
    for i, bound in ipairs(tally.BUCKETS) do
      out.put(name .. "_bucket", { "playbook", playbook, "le", bound }, one.durations[i])
    end
    out.put(name .. "_bucket", { "playbook", playbook, "le", "+Inf" }, one.duration_count)
    out.put(name .. "_sum", { "playbook", playbook }, one.duration_sum)
    out.put(name .. "_count", { "playbook", playbook }, one.duration_count)
  end
end

local function put_waits(out, engine)
  local name = PREFIX .. "quota_wait_seconds"
  out.head(name, "summary", "How long creates waited for the account's slot.")
  for playbook, one in each(engine) do
    out.put(name .. "_sum", { "playbook", playbook }, one.waited)
    out.put(name .. "_count", { "playbook", playbook }, one.waits)
  end
end

-- One series for each of `words`: the counts of `field` by a label.
local function put_by(out, engine, metric, label, words, field)
  out.head(PREFIX .. metric[1], "counter", metric[2])
  for playbook, one in each(engine) do
    for _, word in ipairs(words) do
      out.put(PREFIX .. metric[1], { "playbook", playbook, label, word }, one[field][word])
    end
  end
end

local function put_counts(out, engine)
  put_by(out, engine, { "runs_total", "Attempts, by how they ended." }, "result", tally.RESULTS,
    "results")
  put_by(out, engine, { "runs_started_total", "Attempts, by what asked for them." }, "trigger",
    tally.TRIGGERS, "triggers")
  put_by(out, engine, { "runs_skipped_total", "Due times that were skipped." }, "reason",
    tally.SKIPS, "skips")
end

-- Metrics of one number a playbook: name, kind, help, value(one, entry), format.
local SINGLE <const> = {
  { "runs_missed_total", "counter", "Due times that were missed.",
    function(one) return one.missed end },
  { "retries_total", "counter", "Attempts after the first.", function(one) return one.retries end },
  { "quota_slots_lost_total", "counter", "Slots that others took although they seemed free.",
    function(one) return one.slots_lost end },
  { "runs_in_flight", "gauge", "Runs that go on.", function(one) return one.in_flight end },
  { "fire_lag_seconds", "gauge", "How late the last run started.",
    function(one) return one.lag end },
  { "last_success_timestamp_seconds", "gauge", "When a run last ended well; 0: never.",
    function(one) return one.last_success end, instant },
  { "next_run_timestamp_seconds", "gauge", "The next due time with its jitter; 0: none.",
    function(_, entry) return entry and entry.planned or 0 end, instant },
  { "scheduled", "gauge", "0: it has lost its schedule.",
    function(_, entry) return entry and entry.nominal and 1 or 0 end },
  { "expected_interval_seconds", "gauge", "Between its next two due times.",
    function(_, entry)
      local after = entry and entry.nominal and entry.times:next(entry.nominal)
      return after and after - entry.nominal or 0
    end },
  { "paused", "gauge", "1: it is paused.", function(_, _, paused) return paused and 1 or 0 end },
}

local function put_singles(out, engine, pauses)
  for _, metric in ipairs(SINGLE) do
    local name = PREFIX .. metric[1]
    out.head(name, metric[2], metric[3])
    for playbook, one, entry in each(engine) do
      out.put(name, { "playbook", playbook }, metric[4](one, entry, pauses[playbook]), metric[5])
    end
  end
end

local function put_program(out, engine, daemon)
  out.head("moontap_build_info", "gauge", "The program.")
  out.put("moontap_build_info", { "version", tostring(moontap.version), "tzdb", tzdb.version() }, 1)
  out.head("moontap_scheduler_last_tick_timestamp_seconds", "gauge", "When it last looked.")
  out.put("moontap_scheduler_last_tick_timestamp_seconds", {}, engine.tally.tick, instant)
  out.head("moontap_clock_steps_total", "counter", "Steps of the clock.")
  for _, way in ipairs { "forward", "back" } do
    out.put("moontap_clock_steps_total", { "direction", way }, engine.tally.steps[way])
  end
  out.head("moontap_config_reload_success", "gauge", "1: all files are good.")
  out.put("moontap_config_reload_success", {}, engine.tally.reload_ok)
  out.head("moontap_config_last_reload_timestamp_seconds", "gauge", "When files were last loaded.")
  out.put("moontap_config_last_reload_timestamp_seconds", {}, engine.tally.reload_at, instant)
  out.head("moontap_config_broken_files", "gauge", "Files that cannot be used.")
  out.put("moontap_config_broken_files", {}, #daemon.broken)
  out.head("moontap_playbooks", "gauge", "Playbooks that are loaded.")
  local n = 0
  for _ in pairs(engine.playbooks) do n = n + 1 end
  out.put("moontap_playbooks", {}, n)
end

---@param daemon table with `engine`, `broken`
---@return string
function M.text(daemon)
  local out = writer()
  local pauses = require "moontap.state.dues".pauses(daemon.engine.state) or {}
  put_program(out, daemon.engine, daemon)
  put_counts(out, daemon.engine)
  put_singles(out, daemon.engine, pauses)
  put_durations(out, daemon.engine)
  put_waits(out, daemon.engine)
  return table.concat(out.lines, "\n") .. "\n"
end

local function health(daemon)
  local age = clock.now() - daemon.engine.tally.tick
  if daemon.engine.is_draining then return 503, "it drains\n" end
  if daemon.engine.tally.tick == 0 then return 503, "it loads its playbooks\n" end
  if age > WELL_WITHIN then return 503, ("it last looked %.0f s ago\n"):format(age) end
  if #daemon.broken == 0 then return 200, "ok\n" end
  return 200, "ok; files that cannot be used: " .. table.concat(daemon.broken, ", ") .. "\n"
end

local function answer(status, body, kind)
  return { status = status, body = body, headers = {
    ["Content-Type"] = kind or "text/plain; charset=utf-8", ["Cache-Control"] = "no-store" } }
end

---Serves /metrics and /healthz.
---@param address string "127.0.0.1:9464", "[::1]:0"
---@param daemon table
---@return any|nil server
---@return table|nil err
function M.listen(address, daemon)
  local host, port = address:match "^%[?([%x:.]+)%]?:(%d+)$"
  port = math.tointeger(tonumber(port))
  if not host or port > 65535 then
    return nil, errors.new("usage", ("--listen: expected ADDR:PORT, got '%s'"):format(address))
  end
  return require "moontap.native.server".listen {
    address = host, port = port, body_max = 1024,
    handler = function(request)
      local path = request.path or ""
      if request.method ~= "GET" and request.method ~= "HEAD" then
        return answer(405, "only GET\n")
      elseif path == "/metrics" then
        return answer(200, M.text(daemon), "text/plain; version=0.0.4; charset=utf-8")
      elseif path == "/healthz" then
        return answer(health(daemon))
      end
      return answer(404, "/metrics and /healthz are here\n")
    end,
  }
end

return M
