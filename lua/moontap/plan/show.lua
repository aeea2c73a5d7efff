-- show: a plan as text and as JSON. No secret is in it.

local clock = require "moontap.clock"
local duration = require "moontap.duration"
local json = require "moontap.json"
local log = require "moontap.log"
local schema = require "moontap.native.schema"

local M = {}

local HIDDEN <const> = "[hidden]"
local SOURCE_MAX <const> = 90 -- bytes of a script's line in the text
local REPEATED <const> = 3 -- steps that follow one like them are counted from so many on
local LIMITS <const> = { "time_limit", "packet_limit", "byte_limit" }
local ASSUMED <const> = {
  "what the API is asked to do succeeds, and captures are not failed",
  "nobody else takes the slot meanwhile, and what was read stays as it is",
}

-- A text that may be shown: no secret, one line, valid UTF-8.
local function clean(text)
  text = log.redact(schema.redact(text)):gsub("%c", " ")
  return utf8.len(text) and text or (text:gsub("[\128-\255]", "?"))
end

local function clean_all(world, value)
  if type(value) == "string" then return clean(world:plain(value)) end
  if type(value) ~= "table" then return value end
  local to = {}
  for key, item in pairs(value) do to[key] = clean_all(world, item) end
  return getmetatable(value) and debug.setmetatable(to, getmetatable(value)) or to
end

local function capture_name(id)
  return id:find "^{" and "the capture of" .. id:match "^{the id of(.*)}$" or "capture " .. id
end

---@type table<string, fun(d: table): string>
local SUMMARIES <const> = {
  create = function(d) return ("create a %s capture"):format(d.params.type) end,
  download = function(d)
    return ("download %s to %s"):format(capture_name(d.id), d.path or "the state directory")
  end,
  ["file.remove"] = function(d) return "remove " .. d.path end,
  ["file.rename"] = function(d) return ("rename %s to %s"):format(d.from, d.to) end,
  ["file.tmpname"] = function() return "make a temporary file" end,
  ["file.write"] = function(d) return ("write %s (mode %s)"):format(d.path, d.mode) end,
  ["http.request"] = function(d)
    return ("%s %s%s"):format(d.method, d.url, d.to_file and " to " .. d.to_file or "")
  end,
  ["ownership.create"] = function(d) return "claim the bucket " .. d.destination_conf end,
  ["ownership.delete"] = function(d) return "delete the ownership " .. d.id end,
  ["ownership.validate"] = function(d) return "prove the ownership of " .. d.destination_conf end,
  ["process.execute"] = function(d) return "run " .. d.command end,
  ["process.popen"] = function(d) return "run " .. d.command end,
  stop = function(d)
    return ("stop %s%s"):format(capture_name(d.id), d.force and " by force" or "")
  end,
}

-- What of a request is shown: an address without its query, the names of headers, sizes.
local function request(d)
  local names = {}
  for name in pairs(d.headers or {}) do names[#names + 1] = tostring(name) end
  table.sort(names)
  return { method = (d.method or (d.body and "POST" or "GET")):upper(),
           url = d.url:gsub("[?#].*", "?…"), to_file = d.to_file,
           headers = #names > 0 and json.array(names) or nil,
           body_bytes = d.body and #d.body or nil }
end

local function details_of(world, step)
  local d = step.details
  if step.op == "http.request" then d = request(d) end
  d = clean_all(world, d)
  if d.ownership_challenge then d.ownership_challenge = HIDDEN end
  return d
end

local function place(sources, at)
  local source = sources:line(at)
  return { file = clean(at.file), line = at.line, ["function"] = at.name and clean(at.name),
           source = source and clean(source) }
end

-- The line that decided on a step, and those that led there.
local function decision(sources, chain, command)
  if #chain == 0 then return { command = command } end
  local made = place(sources, chain[1])
  if #chain > 1 then
    made.chain = json.array {}
    for i = 2, #chain do made.chain[i - 1] = place(sources, chain[i]) end
  end
  return made
end

local function pick(from, names)
  local to
  for _, name in ipairs(names) do
    if from[name] ~= nil then
      to = to or {}
      to[name], from[name] = from[name], nil
    end
  end
  return to
end

local function show_step(world, step, sources, command)
  local d = details_of(world, step)
  local shown = { number = step.number, at = step.at, op = step.op,
                  summary = SUMMARIES[step.op](d), slot = step.slot,
                  decision = decision(sources, step.chain, command),
                  invented = step.invents and json.array(step.invents) or nil }
  if step.op == "create" then
    shown.limits = pick(d.params, LIMITS)
    shown.filter, d.params.filter_v1 = d.params.filter_v1, nil
  end
  shown.parameters = next(d) and d or nil
  if step.slot then
    shown.slot.starts = not step.slot.missed and step.at + step.slot.wait or nil
  end
  return shown
end

-- The values that a world decided on; the last of each name.
local function show_values(which, hangs_on, world)
  local values = {}
  for _, value in ipairs(hangs_on) do values[value.name] = clean_all(world, value.values[which]) end
  return next(values) and values or nil
end

local function show_branch(world, branch, sources, command)
  local step = branch.step
  local is_placed = step or #branch.chain > 0
  return {
    goes_on = branch.what,
    summary = step and SUMMARIES[step.op](details_of(world, step)) or nil,
    decision = is_placed and decision(sources, branch.chain, command) or nil,
    message = branch.message and clean(world:plain(branch.message)) or nil,
  }
end

-- Values as they were in both worlds.
local function show_pairs(a, b, values)
  local list = json.array {}
  for i, value in ipairs(values) do
    list[i] = { step = value.step, name = value.name,
                values = { clean_all(a, value.values[1]) or json.null,
                           clean_all(b, value.values[2]) or json.null } }
  end
  return list
end

local function show_end(a, b, verdict, sources, command)
  local shown = { message = clean(a:plain(verdict.message)), after_step = verdict.count,
                  at = verdict.place and place(sources, verdict.place) or nil }
  if verdict.branches then
    shown.branches = json.array {}
    for i, world in ipairs { a, b } do
      shown.branches[i] = show_branch(world, verdict.branches[i], sources, command)
      shown.branches[i].values = show_values(i, verdict.hangs_on, world)
    end
    shown.hangs_on = show_pairs(a, b, verdict.hangs_on)
    shown.given = show_pairs(a, b, verdict.given)
  end
  return shown
end

---@class moontap.plan.Frame what a plan is of
---@field command string
---@field sources moontap.plan.Sources
---@field began number since 1970

---The plan as a table that becomes JSON.
---@param a moontap.plan.World
---@param b moontap.plan.World
---@param verdict moontap.plan.Verdict
---@param frame moontap.plan.Frame
---@return table
function M.document(a, b, verdict, frame)
  local steps = json.array {}
  for i = 1, verdict.count do
    steps[i] = show_step(a, a.steps[i], frame.sources, frame.command)
  end
  return {
    plan = 1, of = clean(frame.command), began = clock.format(frame.began // 1), steps = steps,
    ends = verdict.ends, ["end"] = show_end(a, b, verdict, frame.sources, frame.command),
    reads = a.shared.real_reads, assumed = json.array(ASSUMED),
  }
end

-- Text -----------------------------------------------------------------------------------------

local function span(seconds)
  return duration.format(math.floor(seconds * 1000 + 0.5) / 1000)
end

local function pairs_text(t)
  local names, parts = {}, {}
  for name in pairs(t) do names[#names + 1] = name end
  table.sort(names)
  for i, name in ipairs(names) do parts[i] = ("%s %s"):format(name, tostring(t[name])) end
  return table.concat(parts, ", ")
end

local function slot_text(slot)
  local why = slot.why and " (" .. slot.why .. ")" or ""
  if slot.missed then
    return ("not free before the deadline of the create, but in %s%s"):format(span(slot.wait), why)
  end
  if slot.wait == 0 then return "free" end
  return ("%s%s%s"):format(slot.guess and "about " or "after ", span(slot.wait), why)
end

-- Cuts a line of a script, between characters.
local function cut(text)
  if #text <= SOURCE_MAX then return text end
  return text:sub(1, (utf8.offset(text, 0, SOURCE_MAX) or SOURCE_MAX) - 1) .. " …"
end

local function place_text(at)
  if at.command then return "the command " .. at.command end
  return ("%s:%d%s"):format(at.file, at.line, at.source and ": " .. cut(at.source) or "")
end

local function add(lines, label, text)
  if text then lines[#lines + 1] = ("     %-9s %s"):format(label, text) end
end

local function filter_text(step)
  if step.op ~= "create" then return nil end
  return step.filter and next(step.filter) and pairs_text(step.filter) or "none: everything"
end

local function add_step(lines, step)
  lines[#lines + 1] = ("%3d  +%s  %s"):format(step.number, span(step.at), step.summary)
  add(lines, "filter", filter_text(step))
  add(lines, "limits", step.limits and pairs_text(step.limits))
  local params = step.op == "create" and step.parameters and step.parameters.params or {}
  add(lines, "until", params.offset_time)
  add(lines, "bucket", params.destination_conf)
  add(lines, "slot", step.slot and slot_text(step.slot))
  add(lines, "decided", place_text(step.decision))
  for _, at in ipairs(step.decision.chain or {}) do add(lines, "from", place_text(at)) end
  add(lines, "invented", step.invented and table.concat(step.invented, ", "))
end

-- What two steps have in common that need not be said twice.
local function likeness(step)
  return json.encode { step.summary, step.filter or {}, step.limits or {}, step.decision,
                       step.slot and { step.slot.wait, step.slot.why } or {} }
end

-- A loop is shown once, with how often it goes on like that.
local function add_steps(lines, steps)
  local i = 1
  while i <= #steps do
    local last, kind = i, likeness(steps[i])
    while steps[last + 1] and likeness(steps[last + 1]) == kind do last = last + 1 end
    add_step(lines, steps[i])
    if last - i >= REPEATED then
      lines[#lines + 1] = ("  …  %d more like it, the last at +%s"):format(last - i,
        span(steps[last].at))
    else
      for j = i + 1, last do add_step(lines, steps[j]) end
    end
    i = last + 1
  end
end

local WENT_ON <const> = { step = "it goes on", ["end"] = "it ends", error = "it fails",
                          exit = "it leaves", limit = "it does not end",
                          undecided = "it cannot go on" }

local function branch_text(branch)
  local text = ("     with %s: %s"):format(branch.values and pairs_text(branch.values)
    or "the same", WENT_ON[branch.goes_on])
  local what = branch.summary or branch.message
  return what and text .. ": " .. what or text
end

local function add_branch(lines, branch)
  lines[#lines + 1] = branch_text(branch)
  if not branch.decision then return end
  add(lines, "at", place_text(branch.decision))
  for _, at in ipairs(branch.decision.chain or {}) do add(lines, "from", place_text(at)) end
end

local ENDS <const> = { complete = "complete", undecided = "undecided", failed = "failed",
                       limit = "not to its end" }

---The plan as text.
---@param document table
---@return string
function M.text(document)
  local lines = { ("plan of %s, as of %s"):format(document.of, document.began) }
  add_steps(lines, document.steps)
  if #document.steps == 0 then lines[#lines + 1] = "     no step: nothing would be changed" end
  local ending = document["end"]
  lines[#lines + 1] = ("%s: %s"):format(ENDS[document.ends], ending.message)
  if ending.at then add(lines, "at", place_text(ending.at)) end
  for _, branch in ipairs(ending.branches or {}) do add_branch(lines, branch) end
  lines[#lines + 1] = "assumed: " .. table.concat(document.assumed, "; ")
  lines[#lines + 1] = "nothing was changed"
  return table.concat(lines, "\n")
end

return M
