-- bundle: the captures of a case as one archive.

local bundle = require "moontap.bundle"
local config = require "moontap.config"
local errors = require "moontap.errors"
local holding = require "moontap.cmd.holding"
local json = require "moontap.json"
local outcome = require "moontap.cmd.outcome"
local sys = require "moontap.native.sys"

---@type moontap.cmd.Command
local M = {
  summary = "pack the captures of a case into one archive",
  usage = { "moontap bundle [OPTIONS] CASE" },
  description = "Packs the capture files of a case into one tar file, with a timeline (who asked, "
    .. "when, why, for what, and what became of it, with the cf-ray of each) as timeline.txt and "
    .. "timeline.json, and SHA256SUMS for sha256sum -c. Files that are missing, were purged, or "
    .. "have changed since they were downloaded are named as such. The files of full captures are "
    .. "in their buckets; the timeline says where. Nothing is overwritten, nothing is sent.",
  arguments = { { "case", name = "CASE", help = "the case, as --case named it" } },
  options = {
    { "-o --output", arg = "FILE",
      help = "where to write it (else CASE-bundle.tar); - for standard output" },
  },
  groups = { "state", "output" },
  examples = { "moontap bundle INC-7", "moontap bundle INC-7 -o /media/usb/inc-7.tar",
    "moontap bundle INC-7 -o - | ssh evidence 'cat >inc-7.tar'" },
}

local function count(entries)
  local n = { packed = 0, changed = 0, missing = 0, purged = 0, none = 0 }
  local seen = {}
  for _, entry in ipairs(entries) do
    local key = entry.path or entry.id or entry
    if not seen[key] then n[entry.file_state] = n[entry.file_state] + 1 end
    seen[key] = true
  end
  return n
end

local function complain(entries)
  local seen = {}
  for _, entry in ipairs(entries) do
    local state = entry.file_state
    local is_worth = state == "missing" or state == "purged" or state == "changed"
    if is_worth and not seen[entry.id] then
      outcome.complain(("%s: its file %s"):format(entry.id, state == "missing"
        and "is missing: " .. entry.path or state == "purged" and "was purged at " .. entry.purged
        or "has changed since it was downloaded: " .. entry.path))
      seen[entry.id] = true
    end
  end
end

function M.run(args)
  if args.output and args.output:find "gz$" then
    return nil, errors.new("usage", "-o: a bundle is a plain tar file; compress it afterwards")
  elseif args.output == "" then
    return nil, errors.new("usage", "-o names no file")
  elseif args.output == "-" and sys.isatty(1) then
    return nil, errors.new("usage", "-o -: standard output is a terminal, and this is no text")
  elseif args.output == "-" and config.json then
    return nil, errors.new("usage", "-o -: the archive goes to standard output: leave out --json")
  end
  return holding.with_state(function(state)
    local path, entries = bundle.write(state, args.case, args.output)
    if not path then return nil, entries end
    if not config.quiet then complain(entries) end
    local n = count(entries)
    if config.json then
      n.path = path
      print(json.encode(n))
    elseif not config.quiet and path ~= "-" then
      print(("%s: %d file%s"):format(path, n.packed + n.changed, n.packed + n.changed == 1 and ""
        or "s"))
    end
    return n.missing == 0 and n.packed + n.changed > 0 and outcome.OK or outcome.FAILED
  end)
end

return M
