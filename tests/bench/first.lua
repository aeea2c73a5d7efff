-- From nothing to the first create.

assert(pcaps.create {
  type = "simple", time_limit = 300, packet_limit = 10000,
  filter_v1 = { destination_address = "203.0.113.10", destination_port = 53, protocol = 17 },
})
