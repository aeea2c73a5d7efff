-- syn-flood: the ordinary day, and a SYN flood with spoofed sources on the web server.
--
-- 90,000 SYNs a second to 203.0.113.20 port 443, each from an address of its own, for ten minutes
-- from second 30 on. No source filter helps; protocol 6 and destination_port 443 leave the flood,
-- and what gives it away are the flags: SYNs without anything after them.

return {
  base = "baseline",
  name = "syn-flood",
  sampling = 500,
  clients = {
    spoofed = { spoofed = true, prefixes = { "198.18.0.0/15", "100.64.0.0/10", "240.0.0.0/8" },
                ttl = { 64 } },
  },
  attacks = {
    { name = "syn", vector = "SYN flood", clients = "spoofed", address = "203.0.113.20",
      protocol = "tcp", source_port = "random", port = 443, pps = 90000,
      start = 30, duration = 600, packets = { { flags = "S" } } },
  },
}
