-- Each hour a look at several targets, one after the other: the host lets each capture wait for
-- the account's slot, one a minute.

local TARGETS <const> = { "203.0.113.10", "203.0.113.20", "203.0.113.30" }

local function look(target)
  local cap, err = pcaps.create({
    type = "simple", time_limit = 60, packet_limit = 1000,
    filter_v1 = { destination_address = target },
  }, { deadline = "10m" })
  if cap then cap, err = cap:wait { timeout = "5m" } end
  if not cap then return nil, ("%s: %s"):format(target, tostring(err)) end
  print(target, cap.id, cap.packets_captured)
  return true
end

return {
  api = 1,
  on = { cron = "H * * * *" },
  timeout = "30m",
  uses = { "spot-check" },
  grants = { pcaps = { verbs = { "create", "get" }, types = { "simple" },
                       destinations = { "203.0.113.0/24" }, max_packet_limit = 1000 } },
  run = function()
    local problems = {}
    for _, target in ipairs(TARGETS) do
      local ok, problem = look(target)
      if not ok then problems[#problems + 1] = problem end
    end
    if #problems > 0 then return nil, table.concat(problems, "; ") end
  end,
}
