-- several-filters: one window of time through several filters. The API gives one simple capture a
-- minute; the others wait for their turn, and still look at the minute when they were asked for.
--
--   moontap run --sim --virtual-time scripts/several-filters.lua [DIRECTORY]
local directory = arg[1] or "."

local filters = {
  dns = { destination_address = "203.0.113.10", destination_port = 53 },
  web = { destination_address = "203.0.113.20", protocol = "tcp", destination_port = 443 },
  mail = { destination_address = "203.0.113.25", destination_port = 25 },
}
local names = { "dns", "web", "mail" }

local function capture(name)
  local cap, err = pcaps.create({
    type = "simple", time_limit = 60, packet_limit = 10000, filter_v1 = filters[name],
  }, { deadline = "15m", max_retries = 15 })
  if not cap then return nil, err end
  assert(cap:wait())
  return assert(cap:download(("%s/%s.pcap"):format(directory, name)))
end

local tasks = {}
for i, name in ipairs(names) do
  tasks[i] = function() return capture(name) end
end
for i, path in ipairs(assert(moontap.all(tasks))) do
  print(names[i], path, assert(moontap.capture.open(path)).packets .. " packets")
end
