-- help: what the commands are, or one of them in full.

local command = require "moontap.cmd.command"
local errors = require "moontap.errors"

---@type moontap.cmd.Command
local M = {
  summary = "show help, of a command or of all",
  usage = { "moontap help [COMMAND | OPERATION]" },
  description = "Shows all commands, one COMMAND in full, or the parameters of an OPERATION of "
    .. "the API: create, ownership.create, ownership.validate.",
  arguments = { { "topic", name = "COMMAND", help = "which command, or operation of the API",
                  optional = true } },
}

local EPILOGUE <const> = [[
Environment:
  CLOUDFLARE_API_TOKEN      the API token; its permission group is
                            "Magic Firewall Packet Captures - Read PCAPs API" to list,
                            get and download, "... - Write PCAPs API" for everything
  CLOUDFLARE_ACCOUNT_ID     the account
  CLOUDFLARE_BASE_URL       where the API is, if not at Cloudflare
  CLOUDFLARE_EMAIL, CLOUDFLARE_API_KEY
                            the older way to authenticate, only without a token

Exit status:
  0 done   1 failed   2 wrong usage   3 no or refused credentials
  4 stopped by a deadline or a signal   5 no slot or budget
  6 outcome unknown: look with `moontap captures`
  7 the capture is empty   8 skipped: the lock is held]]

local function commands()
  local lines = {}
  for i, entry in ipairs(command.list()) do
    lines[i] = ("  %-12s%s"):format(entry.name, entry.summary)
  end
  return table.concat(lines, "\n")
end

---What is shown without any argument.
---@return string
function M.short()
  return "usage: moontap COMMAND [OPTIONS] [ARG...]\n\nCommands:\n" .. commands()
    .. "\n\nTry: moontap help COMMAND; moontap run --sim FILE needs no account."
end

local function is_operation(name)
  for _, op in ipairs(require "moontap.fields".OPERATIONS) do
    if op == name then return true end
  end
  return false
end

function M.run(args)
  local operation = args.topic and args.topic:gsub("^pcaps%.", "")
  if operation and is_operation(operation) then
    print(require "moontap.fields".text(operation))
  elseif args.topic then
    if not command.exists(args.topic) then
      return nil, errors.new("usage", command.unknown(args.topic))
    end
    print(command.help_of(args.topic))
  else
    print("usage: moontap COMMAND [OPTIONS] [ARG...]\n       moontap [OPTIONS] FILE [ARG...]\n\n"
      .. "Commands:\n" .. commands() .. "\n\n" .. EPILOGUE)
  end
  return 0
end

return M
