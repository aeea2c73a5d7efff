-- full-capture: every packet at one data center, for five minutes or until there is enough.
--
--   moontap run --sim --virtual-time scripts/full-capture.lua
--   moontap run scripts/full-capture.lua COLO BUCKET [PACKETS]
--
-- BUCKET is a destination_conf whose ownership was proved before, see ownership-setup.lua.
local bucket = require "moontap.bucket"

local colo = arg[1] or "ORD"
local destination = arg[2] or assert(bucket.simulated())
local enough = arg[3] and assert(math.tointeger(tonumber(arg[3])), "PACKETS is a number")
  or math.huge

if not arg[2] then assert(bucket.claim(destination)) end -- the simulator's

local cap = assert(pcaps.create {
  type = "full", colo_name = colo, destination_conf = destination, time_limit = 300,
  filter_v1 = { destination_address = "203.0.113.10", protocol = "udp" },
})

assert(cap:wait {
  interval = "5s",
  progress = function(now)
    if now.status == "running" and (now.packets_captured or 0) >= enough then
      assert(now:stop())
      enough = math.huge -- asked once
    end
  end,
})
print(cap.id, cap.status, cap.packets_captured .. " packets")

-- Each server at the data center writes a file of its own. Those in a real bucket are fetched with
-- the bucket's tools, and joined with mergecap.
for _, path in ipairs(bucket.files(cap) or {}) do
  print(path:match "[^/]+$", assert(moontap.capture.open(path)).packets .. " packets")
end
