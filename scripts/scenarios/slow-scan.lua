-- slow-scan: the ordinary day, and two hosts that look at everything, slowly.
--
-- Twelve SYNs a minute over the /24 and the ports that people leave open, from second 0 on. Drawn
-- from samples it may well not show: a simple capture of their addresses is often empty, a full one
-- with the source_address 192.0.2.130 is not.

return {
  base = "baseline",
  name = "slow-scan",
  clients = {
    scanner = { prefixes = { "192.0.2.130/31" }, count = 2, ttl = { 64 } },
  },
  attacks = {
    { name = "scan", vector = "port scan", clients = "scanner", prefix = "203.0.113.0/24",
      protocol = "tcp", port = { 21, 22, 23, 25, 110, 135, 139, 445, 1433, 2375, 3306, 3389, 5432,
                                 5900, 6379, 8080, 9200, 11211, 27017 },
      pps = 0.2, start = 0, packets = { { flags = "S" } } },
  },
}
