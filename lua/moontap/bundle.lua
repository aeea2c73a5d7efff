-- bundle: the captures of a case in one archive for hand-over: files, their digests, and a timeline
-- of who asked for what, when and why, and what became of it.

local clock = require "moontap.clock"
local db = require "moontap.native.db"
local errors = require "moontap.errors"
local json = require "moontap.json"
local printable = require "moontap.printable"
local show = require "moontap.cmd.show"
local sys = require "moontap.native.sys"
local tar = require "moontap.tar"

local M = {}

local PRIVATE <const> = 384 -- 0600
local NAME_MAX <const> = 90
local WORD_MAX <const> = 60
local STDOUT <const> = "-"

---@class moontap.bundle.Entry one create of the case, as timeline.json has it
---@field asked string
---@field outcome string
---@field file_state "packed"|"changed"|"missing"|"purged"|"none"
---@field file? string its name in the archive

---A name that is safe as a file's: no slash, no dash or dot in front, no space.
---@param text string
---@return string
function M.safe_name(text)
  local name = text:gsub("[^%w._-]", "_"):gsub("^[-.]+", "_"):sub(1, WORD_MAX)
  return name ~= "" and name or "_"
end

local function time(at)
  return at and clock.format(at)
end

local function describe(row, account)
  local params = row.params or {}
  local conf = params.destination_conf
  return {
    account_id = account.account_id, base_url = account.base_url, type = row.kind,
    asked = time(row.asked), sent = time(row.sent), settled = time(row.settled),
    attempts = row.attempts, who = row.who, script = row.script, run = row.run, why = row.why,
    filter_v1 = row.params and (params.filter_v1 or {}), time_limit = params.time_limit,
    packet_limit = params.packet_limit, byte_limit = params.byte_limit,
    offset_time = params.offset_time, colo_name = params.colo_name,
    bucket = type(conf) == "string" and conf:gsub("%?.*", "") or nil,
    outcome = row.state, error = row.error, error_kind = row.error_kind, ray = row.ray,
    id = row.capture, status = row.status, submitted = row.submitted,
    downloaded = time(row.downloaded), bytes = row.bytes, sha256 = row.sha256,
    path = row.file, held = time(row.held_at), held_why = row.held_why, purged = time(row.purged),
    file_state = "none",
  }
end

-- What was asked for in a case, the oldest first, over all accounts.
local function read_case(state, case)
  local accounts, err = state:list_accounts()
  if not accounts then return nil, err end
  local rows = {}
  for _, account in ipairs(accounts) do
    local found, problem = account:journal { case = case }
    if not found then return nil, problem end
    for i = #found, 1, -1 do
      rows[#rows + 1] = { asked = found[i].asked, entry = describe(found[i], account) }
    end
  end
  table.sort(rows, function(a, b) return a.asked < b.asked end)
  local entries = {}
  for i, row in ipairs(rows) do entries[i] = row.entry end
  if #entries > 0 then return entries end
  return nil, errors.new("io", ("case '%s': this machine knows no capture of it"):format(case))
end

-- The archive ------------------------------------------------------------------------------

-- An archive that is being written; what it has not finished goes away with it.
local Writer = {}
Writer.__index = Writer

function Writer.__close(self)
  if self.handle then self.handle:close() end
  if self.temp and not self.is_done then sys.remove(self.temp) end
end

local function open_writer(path, name)
  if path == STDOUT then return setmetatable({ dir = name, sums = {}, names = {} }, Writer) end
  local temp = path .. ".part-" .. sys.getpid()
  local ok, err = sys.write_file(temp, "", PRIVATE)
  if not ok then return nil, err end
  local handle, why = io.open(temp, "r+b")
  if not handle then return nil, errors.new("io", why) end
  return setmetatable({ temp = temp, handle = handle, dir = name, sums = {}, names = {} }, Writer)
end

function Writer:write(bytes)
  if not self.handle then return sys.write(1, bytes) end
  local ok, why = self.handle:write(bytes)
  if ok then return true end
  return nil, errors.new("io", ("write %s: %s"):format(self.temp, why))
end

-- Adds a file below `dir` of the archive, and its digest to the sums.
function Writer:add(dir, name, data, mtime)
  local inside = dir == "" and name or dir .. "/" .. name
  self.sums[#self.sums + 1] = ("%s  %s\n"):format(db.digest(data), inside)
  self.names[inside] = true
  return self:write(tar.file(dir == "" and self.dir or self.dir .. "/" .. dir, name, data, mtime))
end

function Writer:finish(path)
  local ok, err = self:write(tar.file(self.dir, "SHA256SUMS", table.concat(self.sums), clock.now())
    .. tar.END)
  if not ok then return nil, err end
  local handle = self.handle
  if not handle then return true end
  self.handle = nil
  local closed, why = handle:close()
  if not closed then return nil, errors.new("io", ("write %s: %s"):format(self.temp, why)) end
  ok, err = sys.place(self.temp, path)
  self.is_done = ok
  return ok, err
end

-- The name of a capture's file in the archive, which no other has.
local function name_in(writer, entry)
  local name = entry.path:match "[^/]*$":gsub("[^%w._-]", "_"):gsub("^[-.]+", "_")
    :sub(-NAME_MAX)
  if writer.names["captures/" .. name] then name = entry.id:sub(1, 8) .. "-" .. name end
  return name:sub(-100)
end

-- Packs the file of an entry, and says how it stands.
local function pack(writer, packed, entry)
  if not entry.path then
    entry.file_state = entry.purged and "purged" or "none"
    return true
  end
  local before = packed[entry.path]
  if before then
    entry.file, entry.file_state = before.file, before.file_state
    return true
  end
  local stat = sys.lstat(entry.path)
  local data, err
  if stat and stat.type == "file" then data, err = sys.read_file(entry.path) end
  if not data then
    entry.file_state = entry.purged and "purged" or "missing"
    entry.problem = err and err.message
    return true
  end
  local name = name_in(writer, entry)
  entry.file, entry.file_state = "captures/" .. name, "packed"
  local digest = db.digest(data)
  if entry.sha256 and entry.sha256 ~= digest then
    entry.file_state, entry.sha256_now = "changed", digest
  end
  packed[entry.path] = entry
  return writer:add("captures", name, data, stat.mtime)
end

-- The timeline -----------------------------------------------------------------------------

local LIMITS <const> = { "time_limit", "packet_limit", "byte_limit", "offset_time", "colo_name" }

local function limits(entry)
  local parts = {}
  for _, name in ipairs(LIMITS) do
    if entry[name] ~= nil then parts[#parts + 1] = name .. " " .. tostring(entry[name]) end
  end
  return #parts > 0 and table.concat(parts, ", ") or nil
end

local STATES <const> = {
  packed = "packed", changed = "packed, but CHANGED since it was downloaded",
  missing = "MISSING", purged = "PURGED",
}

local function text_of(i, entry)
  local lines = { ("%d. %s  %s  %s"):format(i, entry.asked, entry.type, entry.filter_v1
    and show.filter(entry.filter_v1) or "filter purged") }
  local function add(label, value)
    if value ~= nil then lines[#lines + 1] = ("   %-10s %s"):format(label, printable(value)) end
  end
  add("who", entry.who and entry.who .. (entry.script and ", " .. entry.script or ""))
  add("why", entry.why)
  add("limits", limits(entry))
  add("sent", entry.sent)
  add("outcome", entry.outcome .. (entry.error and ": " .. entry.error or ""))
  add("capture", entry.id and ("%s (%s)"):format(entry.id, entry.status or "no status"))
  add("submitted", entry.submitted)
  add("cf-ray", entry.ray)
  add("bucket", entry.bucket and ("%s, files whose names hold %s"):format(entry.bucket,
    entry.id or "the id"))
  add("file", entry.path and ("%s (%s)"):format(entry.file or entry.path:match "[^/]*$",
    STATES[entry.file_state]))
  add("sha256", entry.sha256)
  add("now", entry.sha256_now)
  add("held", entry.held and entry.held .. (entry.held_why and ", " .. entry.held_why or ""))
  add("purged", entry.purged)
  return table.concat(lines, "\n")
end

local function head_of(state, case)
  local chain, err = state:verify_audit()
  if not chain then return nil, err end
  return {
    case = case, written = time(clock.now()), by = sys.user(), host = sys.host_name(),
    audit = { rows = chain.rows, head = chain.head, problem = chain.problem },
  }
end

local function add_timeline(writer, head, entries)
  local record = { captures = json.array(entries) }
  for name, value in pairs(head) do record[name] = value end
  local ok, err = writer:add("", "timeline.json", json.encode(record, { pretty = true }) .. "\n",
    clock.now())
  if not ok then return nil, err end
  local lines = { ("case %s, written %s by %s on %s"):format(printable(head.case), head.written,
    head.by, head.host), ("audit chain: %d rows, %s, head %s"):format(head.audit.rows,
    head.audit.problem or "unbroken", head.audit.head), "" }
  for i, entry in ipairs(entries) do lines[#lines + 1] = text_of(i, entry) .. "\n" end
  return writer:add("", "timeline.txt", table.concat(lines, "\n"), clock.now())
end

-- Writing ----------------------------------------------------------------------------------

-- What comes from a simulator says so in its name.
local function default_path(case, entries)
  local is_simulated = false
  for _, entry in ipairs(entries) do
    is_simulated = is_simulated or (entry.path or ""):match "[^/]*$":find "^sim%-" ~= nil
  end
  local base = (is_simulated and "sim-" or "") .. M.safe_name(case) .. "-bundle"
  local path, n = base .. ".tar", 1
  while sys.lstat(path) do
    n = n + 1
    path = ("%s-%d.tar"):format(base, n)
  end
  return path
end

---Writes the bundle of a case.
---@param state moontap.State
---@param case string
---@param path? string where to; nothing may be there; "-": standard output
---@return string|nil path
---@return any err or the entries of its timeline
function M.write(state, case, path)
  local entries, err = read_case(state, case)
  if not entries then return nil, err end
  if path and path ~= STDOUT and sys.lstat(path) then
    return nil, errors.new("io", ("write %s: it exists, and is not overwritten"):format(path))
  end
  path = path or default_path(case, entries)
  local head
  head, err = head_of(state, case)
  if not head then return nil, err end
  local writer, why = open_writer(path, M.safe_name(case))
  if not writer then return nil, why end
  local over <close> = writer -- luacheck: ignore over
  local ok
  local packed = {}
  for _, entry in ipairs(entries) do
    ok, err = pack(writer, packed, entry)
    if not ok then return nil, err end
  end
  ok, err = add_timeline(writer, head, entries)
  if ok then ok, err = writer:finish(path) end
  if not ok then return nil, err end
  return path, entries
end

return M
