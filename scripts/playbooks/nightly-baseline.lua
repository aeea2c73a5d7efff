-- What normal traffic looks like: each night one capture of what goes to a target, downloaded into
-- the state directory, where its age decides when it is purged (30 days).

local TARGET <const> = "203.0.113.10"

return {
  api = 1,
  on = { cron = "30 2 * * *" },
  tz = "Europe/Berlin",
  jitter = "10m",
  timeout = "20m",
  catchup = { policy = "last", window = "6h" },
  retry = { attempts = 3, base = "1m" },
  grants = { pcaps = { verbs = { "create", "get", "download" }, types = { "simple" },
                       destinations = { TARGET }, max_time_limit = 300 } },
  run = function(ctx)
    local cap = assert(pcaps.create {
      type = "simple", time_limit = 300, packet_limit = 10000,
      filter_v1 = { destination_address = TARGET },
    })
    assert(cap:wait { timeout = "10m" })
    print(("baseline of %s: %s packets, %s"):format(os.date("%F", ctx.nominal),
      cap.packets_captured or "?", assert(cap:download())))
  end,
}
