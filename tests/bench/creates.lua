-- creates.lua COUNT: one create after another through the full binding.

for _ = 1, assert(math.tointeger(arg[1])) do
  local cap = assert(pcaps.create {
    type = "simple", time_limit = 300, packet_limit = 10000,
    filter_v1 = { destination_address = "203.0.113.10", destination_port = 53, protocol = 17 },
  })
  assert(cap.id == "6d1f0aac13cd40e3900d29f5dd0e8a2b")
end
