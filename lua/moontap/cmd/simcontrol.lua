-- simcontrol: steers a simulator that runs, over its control path.

local config = require "moontap.config"
local duration = require "moontap.duration"
local errors = require "moontap.errors"
local json = require "moontap.json"

local M = {}

local HOW <const> = "moontap sim state | fault SPEC|list|clear | attack list|start NAME|stop NAME"

local function usage(message)
  return nil, errors.new("usage", ("sim: %s; usage: %s"):format(message, HOW))
end

-- The address of the control path, or nil and an error.
local function control_url()
  if config.sim then return (config.sim.base_url:match "^http://[^/]+") .. "/_sim" end
  local base = config.base_url or os.getenv "CLOUDFLARE_BASE_URL"
  local root = base and base:match "^(http://127%.[%d.]+:%d+)" or base
    and (base:match "^(http://localhost:%d+)" or base:match "^(http://%[::1%]:%d+)")
  if root then return root .. "/_sim" end
  return nil, errors.new("usage", base
    and ("sim: %s is no simulator on this machine"):format(base)
    or "sim: which one? Set CLOUDFLARE_BASE_URL as it prints, or give --base-url")
end

local function ask(method, path, body)
  local root, err = control_url()
  if not root then return nil, err end
  local answer
  answer, err = require "moontap.http".request {
    method = method, url = root .. path, body = body and json.encode(body) or nil,
    headers = body and { ["Content-Type"] = "application/json" } or nil, timeout = 10,
  }
  if not answer then return nil, err end
  local value = json.decode(answer.body or "")
  if answer.status > 299 then
    return nil, errors.new("usage", type(value) == "table" and value.error
      or ("sim: status %d; is that a simulator?"):format(answer.status))
  end
  return value or true
end

local function describe_rule(rule)
  local parts = {}
  for name, value in pairs(rule) do
    if name ~= "op" and name ~= "fault" and name ~= "id" and name ~= "fired" and name ~= "seen" then
      parts[#parts + 1] = ("%s=%s"):format(name, tostring(value))
    end
  end
  table.sort(parts)
  return ("%s:%s%s  met by %d of %d"):format(rule.op, rule.fault,
    #parts > 0 and "," .. table.concat(parts, ",") or "", rule.fired, rule.seen)
end

local function describe_attack(attack)
  return ("%-24s %-8s %s, %s pps at %s"):format(attack.name, attack.state, attack.vector,
    tostring(attack.pps), attack.target)
end

local function print_list(list, describe, none)
  if config.json then
    print(json.encode(list, { pretty = true }))
  elseif #list == 0 then
    print(none)
  else
    for _, entry in ipairs(list) do print(describe(entry)) end
  end
  return 0
end

local function show_faults()
  local list, err = ask("GET", "/faults")
  if not list then return nil, err end
  return print_list(list, describe_rule, "no faults")
end

local function fault(words)
  if words[2] == "list" then return show_faults() end
  local ok, err
  if words[2] == "clear" then
    ok, err = ask("DELETE", "/faults")
  elseif words[2] then
    ok, err = ask("POST", "/faults", { spec = words[2] })
  else
    return usage "which fault?"
  end
  if not ok then return nil, err end
  return 0
end

local function attack(words, args)
  local action, name = words[2], words[3]
  local list, err
  if action == "list" then
    list, err = ask("GET", "/attacks")
  elseif (action == "start" or action == "stop") and name then
    local seconds = args["for"] and math.ceil(assert(duration.parse(args["for"])))
    list, err = ask("POST", "/attacks", { name = name, action = action, seconds = seconds })
  else
    return usage "attack: expected list, start NAME or stop NAME"
  end
  if not list then return nil, err end
  return print_list(list, describe_attack, "this scenario has no attacks")
end

local function state()
  local value, err = ask("GET", "")
  if not value then return nil, err end
  if config.json then
    print(json.encode(value, { pretty = true }))
    return 0
  end
  print(("scenario %s, seed %d, speed %g, %d captures"):format(value.scenario, value.seed,
    value.speed, value.captures))
  for _, rule in ipairs(value.faults) do print("fault  " .. describe_rule(rule)) end
  for _, entry in ipairs(value.attacks) do print("attack " .. describe_attack(entry)) end
  return 0
end

local WORDS <const> = { fault = fault, attack = attack, state = state }

---Does what the words behind `moontap sim` say.
---@param words string[]
---@param args table
---@return integer|nil status
---@return table|nil err
function M.run(words, args)
  local run = WORDS[words[1]]
  if not run then return usage(("unknown word '%s'"):format(words[1])) end
  return run(words, args)
end

return M
