-- baseline: an ordinary day of a small network behind Magic Transit.
--
-- A scenario is data; the simulator turns it into packets, always the same
-- ones for the same seed and the same second. Only what arrives at the
-- network is seen, as on Magic Transit. Addresses are from the ranges
-- reserved for documentation and benchmarks.
--
-- sampling   simple captures are drawn from every sampling-th packet
-- day        how far traffic falls at night: 0 (not at all) to 1
-- sites      data centres: site and metro name, servers, share of the clients
-- clients    where traffic comes from: prefixes, how many addresses are active
--            there, the TTL they start with; `spoofed = true` instead gives
--            every packet a source of its own
-- services   what arrives: clients, destination (address, addresses or
--            prefix), protocol, port and source_port (a number, a list,
--            "ephemeral" or "random"), pps (packets a second over all sites)
--            and the kinds of packets with their weights: flags (TCP),
--            payload, and size of the payload in bytes, {least, most}
-- attacks    the same fields, a vector (what the attack is called), and start,
--            duration and every in seconds, start counted from the start of
--            the simulator; without a start it starts by command only
-- base       another scenario, to whose clients, services and attacks these
--            are added
--
-- Payloads: none, random, tls, quic, dns_query, dns_answer, dns_large, ntp,
-- echo; inner_udp and inner_tcp are packets inside of GRE (inner = { source,
-- destination }, prefixes; inner_port). Ports
-- "ephemeral" stay the same for a conversation, "random" ones differ every time.

local page_load = {
  { weight = 6, flags = "S" },
  { weight = 56, flags = "A" },
  { weight = 31, flags = "PA", payload = "tls", size = { 90, 1400 } },
  { weight = 6, flags = "FA" },
  { weight = 1, flags = "R" },
}

return {
  name = "baseline",
  sampling = 50,
  day = 0.3,

  sites = {
    { name = "ord02", metro = "ORD", servers = 3, share = 10 },
    { name = "ord07", metro = "ORD", servers = 2, share = 6 },
    { name = "iad03", metro = "IAD", servers = 4, share = 16 },
    { name = "sjc01", metro = "SJC", servers = 3, share = 12 },
    { name = "ams01", metro = "AMS", servers = 4, share = 18 },
    { name = "fra06", metro = "FRA", servers = 4, share = 16 },
    { name = "gru02", metro = "GRU", servers = 2, share = 6 },
    { name = "sin01", metro = "SIN", servers = 2, share = 9 },
    { name = "nrt08", metro = "NRT", servers = 2, share = 7 },
  },

  clients = {
    eyeballs = { prefixes = { "198.18.0.0/16" }, count = 1500, ttl = { 64, 64, 128 } },
    resolvers = { prefixes = { "198.19.0.0/20", "192.0.2.0/25" }, count = 240, ttl = { 64, 255 } },
    mail_hosts = { prefixes = { "198.19.64.0/20" }, count = 60, ttl = { 64 } },
    upstream_dns = { prefixes = { "192.0.2.192/28" }, count = 6, ttl = { 64 } },
    time_servers = { prefixes = { "192.0.2.224/28" }, count = 5, ttl = { 64 } },
    monitors = { prefixes = { "198.51.100.16/28" }, count = 8, ttl = { 64 } },
    branch_offices = { prefixes = { "198.51.100.64/26" }, count = 12, ttl = { 255 } },
    scanners = { prefixes = { "198.19.128.0/17" }, count = 400, ttl = { 64, 255 } },
  },

  services = {
    { name = "dns", clients = "resolvers", address = "203.0.113.10",
      protocol = "udp", source_port = "random", port = 53, pps = 500,
      packets = { { payload = "dns_query" } } },
    { name = "dns over tcp", clients = "resolvers", address = "203.0.113.10",
      protocol = "tcp", port = 53, pps = 12, packets = {
        { weight = 1, flags = "S" }, { weight = 3, flags = "A" },
        { weight = 1, flags = "PA", payload = "random", size = { 30, 60 } },
        { weight = 1, flags = "FA" } } },
    { name = "web", clients = "eyeballs", address = "203.0.113.20",
      protocol = "tcp", port = 443, pps = 950, packets = page_load },
    { name = "quic", clients = "eyeballs", address = "203.0.113.20",
      protocol = "udp", port = 443, pps = 260, packets = {
        { weight = 2, payload = "quic", size = { 1200, 1252 } },
        { weight = 7, payload = "quic", size = { 30, 90 } },
        { weight = 3, payload = "quic", size = { 200, 1200 } } } },
    { name = "web redirect", clients = "eyeballs", address = "203.0.113.20",
      protocol = "tcp", port = 80, pps = 30, packets = {
        { weight = 1, flags = "S" }, { weight = 2, flags = "A" },
        { weight = 1, flags = "PA", payload = "random", size = { 70, 420 } } } },
    { name = "mail", clients = "mail_hosts", address = "203.0.113.25",
      protocol = "tcp", port = 25, pps = 70, packets = {
        { weight = 1, flags = "S" }, { weight = 5, flags = "A" },
        { weight = 6, flags = "PA", payload = "random", size = { 20, 1448 } },
        { weight = 1, flags = "FA" } } },
    { name = "answers of upstream dns", clients = "upstream_dns", address = "203.0.113.11",
      protocol = "udp", source_port = 53, port = "random", pps = 60,
      packets = { { payload = "dns_answer" } } },
    { name = "time", clients = "time_servers", addresses = { "203.0.113.11", "203.0.113.12" },
      protocol = "udp", source_port = 123, port = 123, pps = 3,
      packets = { { payload = "ntp" } } },
    { name = "tunnels", clients = "branch_offices", address = "203.0.113.40",
      protocol = "udp", source_port = 4500, port = 4500, pps = 90, packets = {
        { weight = 3, payload = "random", size = { 80, 200 } },
        { weight = 2, payload = "random", size = { 900, 1400 } } } },
    { name = "ping", clients = "monitors",
      addresses = { "203.0.113.1", "203.0.113.10", "203.0.113.20", "203.0.113.25" },
      protocol = "icmp", pps = 16, packets = { { payload = "echo", size = { 56, 56 } } } },
    { name = "background scans", clients = "scanners", prefix = "203.0.113.0/24",
      protocol = "tcp", port = { 22, 23, 80, 443, 445, 3389, 5060, 6379, 8080, 8443 }, pps = 25,
      packets = { { flags = "S" } } },
  },

  attacks = {},
}
