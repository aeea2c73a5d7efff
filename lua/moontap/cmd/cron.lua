-- cron: the daemon that carries playbooks out.

local config = require "moontap.config"
local options = require "moontap.cmd.options"

---@type moontap.cmd.Command
local M = {
  summary = "run playbooks when they are due",
  usage = { "moontap cron [OPTIONS] PATH..." },
  description = "Runs the playbooks of each PATH (a file, or a directory and what is below it) "
    .. "when they are due, each in a process of its own that is shut in. SIGHUP loads them anew; "
    .. "SIGTERM starts nothing any more and waits for what runs, a second one leaves at once. One "
    .. "daemon has a state directory; history, runs, log, trigger, pause, resume and why work "
    .. "beside it.",
  arguments = { { "paths", name = "PATH", help = "files or directories", repeated = true } },
  options = {
    { "--policy", arg = "FILE", help = "the operator's bounds for playbooks" },
    { "--listen", arg = "ADDR:PORT", help = "serve /metrics and /healthz there" },
    { "--port-file", arg = "FILE", help = "write the port of --listen to FILE" },
    { "--heartbeat", arg = "URL", help = "a dead-man URL, told each minute that it goes on" },
    { "--watch", help = "load anew when a file changes" },
    { "--drain", arg = "DURATION", convert = options.convert.duration,
      help = "how long SIGTERM waits for runs (1m)" },
    { "--max-runs", arg = "N", convert = options.convert.integer,
      help = "most runs at a time (64)" },
  },
  groups = { "asking", "world", "log" },
  examples = { "moontap cron --listen 127.0.0.1:9464 /etc/moontap/playbooks",
               "moontap cron --sim --watch scripts/playbooks" },
}

function M.run(args)
  config.script = table.concat(args.paths, " ")
  return require "moontap.cron.daemon".run(args)
end

return M
