-- journal: every create is written down and synced just before it is sent, and so is what became
-- of it; how captures stand, where their files are and what was stopped is written down as the
-- answers say so.

local clock = require "moontap.clock"
local config = require "moontap.config"
local db = require "moontap.native.db"
local errors = require "moontap.errors"
local gate = require "moontap.gate"
local host = require "moontap.native.host"
local intents = require "pcaps.intents"
local later = require "moontap.later"
local log = require "moontap.log"
local quota = require "moontap.gate.quota"
local retry = require "pcaps.retry"
local sys = require "moontap.native.sys"
local wish = require "moontap.gate.wish"

local keeping = later "moontap.keeping"

local M = { effects = {} }

local SEEN_AGAIN <const> = 4 -- seconds after which a status that is the same is noted anew

local boot_id

local function now()
  boot_id = boot_id or sys.boot_id() or ""
  return { real = clock.now(), boot = clock.boot(), boot_id = boot_id }
end

-- The state could not be written although the world has changed: nothing is lost, the next start
-- finds it out.
local function check(ok, err)
  if not ok then log.error("%s; it is found out at the next start", err.message) end
  return ok
end

-- What is too old goes, beside what this process is about; once.
local function keep_tidy(context)
  if context.is_tidy then return end
  context.is_tidy = true
  keeping.begin(context.account.state)
end

-- Creates ----------------------------------------------------------------------------------

-- The intent stands in the state as sending then; one that nobody was before, all at once.
local function write(account, intent, params, options)
  if intent.row then
    local wire = wish.wire(params, options and options.asked_at)
    return wish.insist(intent, function() return account:sending(intent.row, now(), wire) end)
  end
  local row, err = wish.insist(intent, function()
    return account:send_at_once(intent.wish, now())
  end)
  if row == nil then return nil, err end
  if not row then
    return nil, errors.new("quota", "somebody is in the way", { lost_turn = true, sent = "no" })
  end
  intent.row = row
  return true
end

M.effects["api.create"] = function(next, client, params, options, path, intent)
  local context = gate.context(client)
  if not context then return next(client, params, options, path, intent) end
  local ok, err = write(context.account, intent, params, options)
  if not ok then return nil, err.lost_turn and err or wish.not_written(err) end
  host.point "sending"
  intent.sent, intent.is_sending = clock.boot(), true
  local cap, problem, body = next(client, params, options, path, intent)
  intent.is_sending = nil
  host.point "answered"
  keep_tidy(context)
  if not cap and not retry.is_open(problem) then
    if not check(context.account:unsent(intent.row, problem)) then
      gate.write_later(context, function()
        return context.account:unsent(intent.row, problem)
      end)
    end
  end
  return cap, problem, body
end

-- A create that took the slot: the next one is possible so much later.
local function free_at(intent, state)
  if state == "shared" then return nil end
  return intent.wish.kind == "simple" and clock.now() + quota.interval "simple" or nil
end

local function settle(intent, state, cap, err)
  local context = intent.context
  local took_slot = cap ~= nil or state == "unknown"
  local outcome = {
    state = state, capture = cap, error = err, ray = cap and cap.ray and cap:ray(),
    free_at = took_slot and free_at(intent, state) or nil,
    detach = intent.options and intent.options.detach,
  }
  if not check(context.account:settle(intent.row, outcome)) then
    gate.write_later(context, function() return context.account:settle(intent.row, outcome) end)
  end
  host.point "settled"
end

intents.observe {
  taken = function(intent)
    local context = intent.context
    return context and context.account:taken() or {}
  end,
  -- It was answered, or found in the list.
  settled = function(intent, cap)
    local state = intent.is_shared and "shared" or intent.is_adopted and "adopted" or "done"
    settle(intent, state, cap)
  end,
  -- It ends without a capture; `err` is nil when it was cancelled.
  left = function(intent, err)
    if not err then
      local account, row = intent.context.account, intent.row
      if not check(account:release(row)) then
        gate.write_later(intent.context, function() return account:release(row) end)
      end
    else
      settle(intent, err.kind == "unknown_outcome" and "unknown" or "refused", nil, err)
    end
  end,
}

-- Captures ---------------------------------------------------------------------------------

-- Is it worth writing down how `cap` stands?
local function is_news(context, cap)
  if type(cap) ~= "table" or type(cap.id) ~= "string" then return false end
  context.known = context.known or {}
  local known = context.known[cap.id] or context.account:capture(cap.id)
  context.known[cap.id] = known -- an unknown one may be known in a moment
  if not known or (known.is_done == 1 and known.status == cap.status) then return false end
  local is_old = cap.type == "full" and clock.now() - known.seen > SEEN_AGAIN / config.speed
  return known.status ~= cap.status or is_old
end

local function observe(context, cap)
  if not is_news(context, cap) then return end
  if check(context.account:observe(cap)) then
    context.known[cap.id] = context.account:capture(cap.id)
  end
end

M.effects["api.get"] = function(next, client, id, options, ...)
  local cap, err = next(client, id, options, ...)
  local context = gate.context(client)
  if cap and context and context.account then observe(context, cap) end
  return cap, err
end

M.effects["api.list"] = function(next, client, ...)
  local caps, date = next(client, ...)
  local context = gate.context(client)
  if caps and context and context.account then
    for _, cap in ipairs(caps) do observe(context, cap) end
  end
  return caps, date
end

M.effects["api.stop"] = function(next, client, id, ...)
  local ok, err = next(client, id, ...)
  local context = gate.context(client)
  if ok and context and context.account then check(context.account:note_stop(id)) end
  return ok, err
end

-- The first place that still has the file is the one that counts: what is below the state directory
-- can be held, and a later copy is whoever's it is.
local function has_place(account, id, path)
  local row = account:capture(id)
  return row and row.file and row.file ~= path and not row.purged and sys.stat(row.file) ~= nil
end

M.effects["api.download"] = function(next, client, id, options, path, ...)
  local known = gate.context(client)
  if known and known.account then keep_tidy(known) end
  local written, err = next(client, id, options, path, ...)
  local context = gate.context(client)
  local account = written and not config.passes_downloads and context and context.account
  if account then
    host.point "downloaded"
    local stat, real = sys.stat(written), sys.real_path(written) or written
    if not has_place(account, id, real) then
      check(account:note_file(id, { path = real, bytes = stat and stat.size or 0,
        sha256 = db.file_digest(written) }))
    end
  end
  return written, err
end

return M
