-- gate: the chain around every exchange with the API and around what else changes the world. A
-- wrapper is a file of this folder: it names the effects that it looks at and is called with what
-- comes after it. Adding one is a file and a word in CHAIN.
--
-- A create goes through all of them with its intent (pcaps/intents.lua) as the last argument:
--
--   grants   may this caller do it
--   plan     --dry-run: written into the plan instead of done
--   quota    waits for the slot of the account
--   journal  written down before it is sent, and what became of it

local config = require "moontap.config"
local effects = require "moontap.effects"
local host = require "moontap.native.host"
local later = require "moontap.later"
local log = later "moontap.log"
local state = later "moontap.state"

local M = {}

---The order in which a call meets them.
---@type string[]
M.CHAIN = { "grants", "plan", "quota", "journal" }

local STOP_LIMIT <const> = 10 -- seconds that leaving may take for stopping captures

---@class moontap.gate.Wrapper
---@field effects table<string, fun(next: function, ...): any> effect -> wrapper
---@field is_needed? fun(): boolean when not always

---@class moontap.gate.Context what the gate knows of a client
---@field account? moontap.state.Account nil when the state cannot be used
---@field err? table why not
---@field is_refused? boolean there are no credentials to ask the API with

---@class moontap.gate.Caller on whose behalf a client works: a run of a playbook
---@field playbook string
---@field run string as the journal names it
---@field priority integer
---@field rules moontap.gate.Rules
---@field quota? { waited: fun(seconds: number), lost: fun() } told of what its creates meet

local callers = setmetatable({}, { __mode = "k" })  -- client -> caller
local contexts = setmetatable({}, { __mode = "k" }) -- client -> context; false: no gate
local is_open = false

-- Benchmarks and stress tests of what lies below switch it off, and nobody against a real API.
local function is_off(base_url)
  if os.getenv "MOONTAP_GATE" ~= "off" or config.read_only or config.dry_run then return false end
  return base_url:match "^https?://127%.%d+%.%d+%.%d+[:/]" ~= nil
    or base_url:match "^https?://localhost[:/]" ~= nil or base_url:match "^https?://%[::1%]" ~= nil
    or base_url:match "^https?://sim%.internal" ~= nil
end

local leave

---Puts the chain around the effects, once.
function M.open()
  if is_open then return end
  is_open = true
  for i = #M.CHAIN, 1, -1 do
    local wrapper = require("moontap.gate." .. M.CHAIN[i])
    if not wrapper.is_needed or wrapper.is_needed() then
      for name, fn in pairs(wrapper.effects) do effects.wrap(name, fn) end
    end
  end
  host.on_exit(leave)
end

-- The way of a process out: what it opened and leaves behind in a failed run is stopped.
function leave(status)
  if not state.is_open() then return end
  if status ~= 0 and not config.sim and not config.dry_run then
    moontap.timeout(STOP_LIMIT, require("moontap.gate.stops").stop_own)
  end
  if package.loaded["moontap.keeping"] then require("moontap.keeping").stop() end
  state.close(status ~= 0) -- what could not be stopped is, by whoever comes next
end

---From now on `client` works for `caller`; nil: for the host itself.
---@param client userdata
---@param caller moontap.gate.Caller|nil
function M.set_caller(client, caller)
  callers[client] = caller
end

---@param client userdata
---@return moontap.gate.Caller|nil nil: people, and scripts that people started
function M.caller(client)
  return callers[client]
end

---The context of a client that has its address and account now; and what the process that went
---before has left open on that account is settled.
---@param client userdata
function M.attach(client)
  if is_off(client.base_url) then
    contexts[client] = false
    return
  end
  M.open()
  local context = {}
  contexts[client] = context
  if config.dry_run and not state.exists() then return end
  local store, err = state.current()
  if store then context.account, err = store:account(client.base_url, client.account_id) end
  if not context.account then
    context.err = err
    log.warn("%s; captures can be looked at, not created", err.message)
    return
  end
  if not config.dry_run then require("moontap.gate.reconcile").at_start(client, context) end
end

---What could not be written down now is tried again before the next create: until then the slot
---seems taken.
---@param context moontap.gate.Context
---@param write fun(): any
function M.write_later(context, write)
  context.unwritten = context.unwritten or {}
  table.insert(context.unwritten, write)
end

---@param context moontap.gate.Context
function M.catch_up(context)
  local list = context.unwritten
  while list and list[1] and list[1]() do table.remove(list, 1) end
end

---A client that could not be set up: `err` says why.
---@param client userdata
---@param err table
function M.refuse(client, err)
  contexts[client] = { err = err, is_refused = true }
end

---@param client userdata
---@return moontap.gate.Context|false|nil false: without the gate
function M.context(client)
  return contexts[client]
end

return M
