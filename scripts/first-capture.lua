-- first-capture: the DNS packets of the last five minutes to one address, as a pcap file.
--
--   moontap run --sim scripts/first-capture.lua
local cap = assert(pcaps.create {
  type = "simple", time_limit = 300, packet_limit = 10000,
  filter_v1 = { destination_address = "203.0.113.10", destination_port = 53, protocol = 17 },
})
assert(cap:wait { timeout = "5m" })
assert(cap:download "first.pcap")
local file = assert(moontap.capture.open "first.pcap")
print(cap.id, cap.status)
print(("%s: %d packets, %d bytes"):format(file.path, file.packets, file.bytes))
