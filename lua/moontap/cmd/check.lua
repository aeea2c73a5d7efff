-- check: what playbooks say, before a daemon carries them out.

local accounts = require "moontap.accounts"
local clock = require "moontap.clock"
local config = require "moontap.config"
local duration = require "moontap.duration"
local effective = require "moontap.gate.effective"
local files = require "moontap.cron.files"
local json = require "moontap.json"
local rules = require "moontap.gate.rules"
local seeds = require "moontap.cmd.seeds"
local show = require "moontap.cmd.showcron"
local times = require "moontap.cron.times"
local zone = require "moontap.cmd.zone"

local FIRES <const> = 5

---@type moontap.cmd.Command
local M = {
  summary = "say what playbooks mean, and what is wrong with them",
  usage = { "moontap check [OPTIONS] PATH..." },
  description = "Evaluates the playbooks of each PATH (a file, or a directory and what is below "
    .. "it) in a process that is shut in, and prints what they mean, their next five due times, "
    .. "every warning and what they may do. The exit status is 1 when one of them cannot be used.",
  arguments = { { "paths", name = "PATH", help = "files or directories", repeated = true } },
  options = {
    { "--policy", arg = "FILE", help = "the operator's bounds for playbooks" },
    { "--state", arg = "DIR", help = "the daemon's, which has drawn ~ (else "
      .. "XDG_STATE_HOME/moontap)" },
  },
  groups = { "output" },
  examples = { "moontap check scripts/playbooks" },
}

-- What does not fit together; each of it is good by itself.
local function add_doubts(warnings, playbook, list)
  if playbook.catchup.policy == "all" and playbook.overlap == "skip" then
    warnings[#warnings + 1] = 'catchup: what is made up for comes at once, and overlap = "skip" '
      .. 'lets one run of it: overlap = "queue" with a max_queue lets all of it'
  end
  local fires = list:list(clock.now(), math.huge, FIRES)
  local gap = math.huge
  for i = 2, #fires do gap = math.min(gap, fires[i] - fires[i - 1]) end
  if playbook.jitter > gap then
    warnings[#warnings + 1] = ("jitter: up to %s is longer than the %s between two due times: a "
      .. "run is never put off beyond the next one"):format(duration.format(playbook.jitter),
      duration.format(gap))
  end
  if playbook.account and not accounts.file() then
    warnings[#warnings + 1] = ("account: there is no accounts file here that could name %q")
      :format(playbook.account)
  end
end

-- A name that the accounts file does not have is as wrong as a name of a field.
local function check_account(one)
  local name = one.playbook and one.playbook.account
  if not name or not accounts.file() then return end
  local account, err = accounts.find(name)
  if account then return end
  one.playbook, one.problems = nil, { { path = "account", message = err.message } }
end

local function facts_of(playbook, policy, drawn)
  local seed, is_undrawn = seeds.of(drawn, playbook)
  local list = times.new(playbook, seed)
  local set = rules.join(playbook.name, playbook.grants, policy)
  local warnings = list:warnings()
  for _, warning in ipairs(rules.warnings(set)) do warnings[#warnings + 1] = warning end
  add_doubts(warnings, playbook, list)
  if is_undrawn then warnings[#warnings + 1] = seeds.WARNING end
  local fires = json.array {}
  for i, nominal in ipairs(list:list(clock.now(), math.huge, FIRES)) do
    fires[i] = { nominal = show.time(nominal), planned = show.time(list:planned(nominal)),
                 in_zone = zone.format(nominal, list:zone()) }
  end
  return {
    schedules = json.array(list:describe()), zone = list:zone(), next = fires,
    warnings = json.array(warnings), meaning = json.array(show.meaning(playbook)),
    grants = json.array(rules.describe(set)), effective = effective.of(set),
  }
end

local function print_facts(one, facts)
  print(("%s (%s)"):format(one.name, one.file))
  for i, words in ipairs(facts.schedules) do
    print(("  when      %s   [%s]"):format(words, one.playbook.expressions[i]))
  end
  for _, line in ipairs(facts.meaning) do print("  " .. line) end
  for _, fire in ipairs(facts.next) do
    print(("  next      %s%s%s"):format(fire.nominal,
      fire.in_zone ~= fire.nominal and (" (%s)"):format(fire.in_zone) or "",
      fire.planned ~= fire.nominal and ("   with jitter %s"):format(fire.planned) or ""))
  end
  print("  may       " .. effective.describe(facts.effective))
  for _, line in ipairs(facts.grants) do print("  says      " .. line) end
  for _, line in ipairs(facts.warnings) do print("  warning   " .. line) end
end

local function print_problems(one)
  print(("%s (%s)"):format(one.name, one.file))
  for _, problem in ipairs(one.problems) do
    print(("  error     %s%s"):format(problem.path ~= "" and problem.path .. ": " or "",
      problem.message))
  end
end

function M.run(args)
  local policy, err
  if args.policy then
    policy, err = files.policy(args.policy)
    if not policy then return nil, err end
  end
  local list
  list, err = show.load(args)
  if not list then return nil, err end
  local drawn
  drawn, err = seeds.read()
  if not drawn then return nil, err end
  local bad, out = 0, json.array {}
  for i, one in ipairs(list) do
    check_account(one)
    local facts = one.playbook and facts_of(one.playbook, policy, drawn)
      or { problems = json.array(one.problems) }
    if not one.playbook then bad = bad + 1 end
    if config.json then
      facts.name, facts.file, facts.ok = one.name, one.file, one.playbook ~= nil
      out[i] = facts
    elseif one.playbook then
      print_facts(one, facts)
    else
      print_problems(one)
    end
  end
  if config.json then
    print(json.encode(out, { pretty = true }))
  elseif #list == 0 and not config.quiet then
    io.stderr:write("no playbooks\n")
  elseif not config.quiet then
    print(("%d playbook%s, %d with errors"):format(#list, #list == 1 and "" or "s", bad))
  end
  return bad == 0 and 0 or 1
end

return M
