-- gre-tunnel: the ordinary day, and traffic that arrives inside GRE.
--
-- Two branch offices send what they have through GRE tunnels to 203.0.113.41, and from second 30 on
-- a flood of small packets hides in one of them. Filters match the outer header: protocol 47 and
-- the tunnel's addresses; ports and the inner addresses are for tools that read the file.

local office = { source = "198.51.100.64/26", destination = "203.0.113.128/26" }

return {
  base = "baseline",
  name = "gre-tunnel",
  sampling = 100,
  clients = {
    tunnel_ends = { prefixes = { "198.51.100.8/31" }, count = 2, ttl = { 255 } },
    bad_end = { prefixes = { "198.51.100.12/32" }, count = 1, ttl = { 255 } },
  },
  services = {
    { name = "gre tunnels", clients = "tunnel_ends", address = "203.0.113.41",
      protocol = "gre", pps = 400, packets = {
        { weight = 3, payload = "inner_tcp", inner = office, inner_port = 443, size = { 40, 40 } },
        { weight = 2, payload = "inner_udp", inner = office, inner_port = 443,
          size = { 80, 1300 } } } },
  },
  attacks = {
    { name = "hidden flood", vector = "UDP flood inside GRE", clients = "bad_end",
      address = "203.0.113.41", protocol = "gre", pps = 30000, start = 30, duration = 600,
      packets = {
        { payload = "inner_udp", inner = office, inner_port = 9987, size = { 46, 46 } } } },
  },
}
