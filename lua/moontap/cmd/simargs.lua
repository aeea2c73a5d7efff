-- simargs: what the options --scenario, --knob and --fault say, for the simulator of its own and
-- the embedded one.

local errors = require "moontap.errors"

local M = {}

---The knobs of the command line.
---@param list string[]|nil "NAME=VALUE"
---@return table|nil changes
---@return table|nil err
function M.knobs(list)
  local changes = {}
  for _, text in ipairs(list or {}) do
    local name, value = require "moontap.sim.knobs".parse(text)
    if not name then return nil, errors.new("usage", value) end
    changes[name] = value
  end
  return changes
end

---Gives a simulator the faults of the command line.
---@param sim moontap.Sim
---@param list string[]|nil
---@return boolean|nil
---@return table|nil err
function M.add_faults(sim, list)
  for _, text in ipairs(list or {}) do
    local rule, problem = sim:fault(text)
    if not rule then return nil, errors.new("usage", problem) end
  end
  return true
end

local function describe_params(kind)
  local names, parts = {}, {}
  for name in pairs(kind.params) do names[#names + 1] = name end
  table.sort(names)
  for i, name in ipairs(names) do
    parts[i] = ("%s=%s"):format(name, tostring(kind.params[name].default))
  end
  return #parts > 0 and " (" .. table.concat(parts, ", ") .. ")" or ""
end

local function print_knobs()
  for _, knob in ipairs(require "moontap.sim.knobs".list()) do
    print(("%-26s %s (%s)"):format(knob.name, knob.doc, tostring(knob.default)))
  end
end

local function print_faults()
  local operations = table.concat(require "moontap.sim.rules".OPERATIONS, " ")
  print "OPERATION:FAULT[,NAME=VALUE...], with rate=0..1 or count=N, and after=N\n"
  print(("operations: %s, or * for all\n"):format(operations))
  for _, kind in ipairs(require "moontap.sim.faults".kinds()) do
    print(("%-20s %s%s"):format(kind.name, kind.doc, describe_params(kind)))
  end
end

local function print_scenarios()
  print(table.concat(require "moontap.sim.scenario".names(), "\n"))
end

---Prints what `--knob help`, `--fault help` or `--scenario help` ask for.
---@param args table
---@return boolean asked
function M.help(args)
  local asked = false
  for name, show in pairs { knob = print_knobs, fault = print_faults } do
    for _, text in ipairs(args[name] or {}) do
      if text == "help" then
        show()
        asked = true
      end
    end
  end
  if args.scenario == "help" then
    print_scenarios()
    asked = true
  end
  return asked
end

return M
