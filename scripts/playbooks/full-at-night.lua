-- A full capture at a fixed hour, on two colos in turn: one on even days, the other on odd ones.
-- Full captures need the operator's policy, such as
--
--   return { ["full-at-night"] = { pcaps = { types = { "full" }, colos = { "ams01", "fra06" },
--     max_time_limit = 300, max_byte_limit = 500000000, per_day = 1 },
--     buckets = { "captures" } } }

local COLOS <const> = { "ams01", "fra06" }
local BUCKET <const> = "s3://captures/nightly?region=eu-central-1"

return {
  api = 1,
  on = { cron = "0 3 * * *" },
  tz = "UTC",
  timeout = "30m",
  uses = { "full-capture" },
  on_lost = "skip",
  grants = { pcaps = { verbs = { "create", "get", "list", "stop" }, types = { "full" },
                       colos = COLOS, destinations = { "203.0.113.0/24" } } },
  run = function(ctx)
    local colo = COLOS[ctx.nominal // 86400 % #COLOS + 1]
    local cap = assert(pcaps.create {
      type = "full", colo_name = colo, time_limit = 300, byte_limit = 500000000,
      destination_conf = BUCKET, filter_v1 = { destination_address = "203.0.113.10" },
    })
    print("captures at " .. colo, cap.id)
    assert(cap:wait { timeout = "20m" })
    print(cap.status)
  end,
}
