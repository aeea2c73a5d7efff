-- run: a Lua script, from a file, standard input or the command line.

local config = require "moontap.config"
local errors = require "moontap.errors"
local host = require "moontap.native.host"

---@type moontap.cmd.Command
local M = {
  summary = "run a Lua script",
  usage = {
    "moontap run [OPTIONS] FILE [ARG...]",
    "moontap run [OPTIONS] - [ARG...]",
    "moontap run [OPTIONS] -e CODE [ARG...]",
  },
  description = "Runs the script FILE, what comes on standard input (-), or CODE. Everything "
    .. "behind FILE goes to the script, as `arg` and as `...`; behind CODE, everything from the "
    .. "first ARG or a -- on. `moontap FILE` does the same.",
  groups = { "api", "cron", "script", "world", "log" },
  options = {
    { "-e", arg = "CODE", help = "run CODE instead of a file" },
    { "--json", help = "with --dry-run: print the plan as JSON" },
  },
  examples = {
    "moontap run --sim scripts/first-capture.lua",
    "moontap run --lock nightly --timeout 20m nightly.lua",
    "moontap run -e 'for _, c in ipairs(assert(pcaps.list())) do print(c) end'",
  },
  passes_rest = true,
}

-- The script as a function, or nil and why not; and its arguments.
local function load_script(args)
  local rest = args.rest
  config.script = args.e and "-e" or rest[1]
  if args.e then
    local arg = table.move(rest, 1, #rest, 1, { [0] = "-e" })
    return table.pack(host.load_code(args.e, "=-e", arg)), rest
  end
  if not rest[1] then return { nil, errors.new("usage", "run: which script?") }, rest end
  local operands = table.move(rest, 2, #rest, 1, {})
  local arg = table.move(operands, 1, #operands, 1, { [0] = rest[1] })
  if rest[1] == "-" and config.dry_run then -- it is read once and run more than once
    args.text = args.text or io.read "a":gsub("^#[^\n]*", "")
    return table.pack(host.load_code(args.text, "=stdin", arg)), operands
  end
  return table.pack(host.load_script(rest[1], arg)), operands
end

function M.run(args)
  local loaded, operands = load_script(args)
  local fn, why = loaded[1], loaded[2]
  if not fn then return nil, why end
  fn(table.unpack(operands))
  return 0
end

return M
