-- Once a week: are all buckets that captures may go to still ours? One whose ownership is not
-- valid fails the run, which names it.

return {
  api = 1,
  on = { cron = "0 8 * * mon" },
  timeout = "2m",
  retry = { attempts = 5, base = "30s" },
  catchup = { policy = "last", window = "1d" },
  grants = { pcaps = { verbs = { "ownership.list" } } },
  run = function()
    local bad = {}
    local list = assert(pcaps.ownership.list())
    for _, ownership in ipairs(list) do
      print(ownership.destination_conf, ownership.status)
      if ownership.status ~= "success" then bad[#bad + 1] = ownership.destination_conf end
    end
    print(("%d buckets, %d not valid"):format(#list, #bad))
    if #bad > 0 then return nil, "not valid: " .. table.concat(bad, ", ") end
  end,
}
