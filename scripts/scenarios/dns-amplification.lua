-- dns-amplification: the ordinary day, and answers to DNS questions that nobody here has asked.
--
-- 2,500 open resolvers send 60,000 large answers a second to the mail server for eight minutes from
-- second 45 on. source_port 53 with protocol 17 and destination_address 203.0.113.25 is the attack;
-- the answers that upstream resolvers send to 203.0.113.11 are not.

return {
  base = "baseline",
  name = "dns-amplification",
  sampling = 500,
  clients = {
    open_resolvers = { prefixes = { "198.19.0.0/16", "100.64.0.0/16" }, count = 2500,
                       ttl = { 64, 64, 128, 255 } },
  },
  attacks = {
    { name = "amplification", vector = "DNS amplification", clients = "open_resolvers",
      address = "203.0.113.25", protocol = "udp", source_port = 53, port = "random", pps = 60000,
      start = 45, duration = 480,
      packets = { { weight = 4, payload = "dns_large", size = { 1180, 1440 } },
                  { weight = 1, payload = "dns_large", size = { 480, 512 } } } },
  },
}
