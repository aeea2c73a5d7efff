-- udp-flood: the ordinary day, and a botnet that floods the web server's QUIC port.
--
-- 120,000 packets a second from 900 hosts, full-size random payloads, for five minutes from second
-- 60 on and again every half hour. A capture of 203.0.113.20 shows it; with protocol 17 and
-- destination_port 443 nearly nothing else is left, and real QUIC starts with other bytes.

return {
  base = "baseline",
  name = "udp-flood",
  sampling = 500,
  clients = {
    bots = { prefixes = { "198.19.192.0/18", "198.51.100.128/25" }, count = 900,
             ttl = { 64, 64, 128, 255 } },
  },
  attacks = {
    { name = "flood", vector = "UDP flood", clients = "bots", address = "203.0.113.20",
      protocol = "udp", source_port = "random", port = 443, pps = 120000,
      start = 60, duration = 300, every = 1800,
      packets = { { weight = 3, payload = "random", size = { 1200, 1400 } },
                  { weight = 1, payload = "random", size = { 512, 512 } } } },
  },
}
