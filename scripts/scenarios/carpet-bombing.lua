-- carpet-bombing: the ordinary day, and a flood spread over the whole /24.
--
-- 50,000 packets a second of UDP to random ports of all 256 addresses: none gets enough for a
-- threshold of its own. For twenty minutes from second 60 on. A capture of one address shows
-- little; protocol 17 without an address shows it, and that its destinations are everywhere.

return {
  base = "baseline",
  name = "carpet-bombing",
  sampling = 500,
  clients = {
    bots = { prefixes = { "198.19.192.0/18" }, count = 1500, ttl = { 64, 128 } },
  },
  attacks = {
    { name = "carpet", vector = "UDP carpet bombing", clients = "bots", prefix = "203.0.113.0/24",
      protocol = "udp", source_port = "ephemeral", port = "random", pps = 50000,
      start = 60, duration = 1200,
      packets = { { payload = "random", size = { 900, 1300 } } } },
  },
}
