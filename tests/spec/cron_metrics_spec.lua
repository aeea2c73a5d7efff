-- outside
-- /metrics as Prometheus reads it: the whole set, from the start, and what a run leaves in it.

local exposition = require "support.exposition"
local daemons = require "support.daemon"

local place

before_each(function() place = daemons.new() end)
after_each(function() place:close() end)

-- Of each playbook: the values of the label beside its name; none: one series.
local BY_PLAYBOOK <const> = {
  runs_total = { "result", "ok", "failed", "cancelled", "lost" },
  runs_started_total = { "trigger", "cron", "manual", "start" },
  runs_skipped_total = { "reason", "mutex", "overlap", "paused", "queue", "other" },
  runs_missed_total = {}, retries_total = {}, runs_in_flight = {}, fire_lag_seconds = {},
  last_success_timestamp_seconds = {}, next_run_timestamp_seconds = {}, scheduled = {},
  expected_interval_seconds = {}, paused = {}, quota_slots_lost_total = {},
  quota_wait_seconds_sum = {}, quota_wait_seconds_count = {}, run_duration_seconds_sum = {},
  run_duration_seconds_count = {},
  run_duration_seconds_bucket = { "le", "1", "5", "10", "30", "60", "120", "300", "600", "1200",
                                  "3600", "+Inf" },
}
local PROGRAM <const> = {
  "moontap_scheduler_last_tick_timestamp_seconds{}", "moontap_config_reload_success{}",
  'moontap_clock_steps_total{direction="forward"}', 'moontap_clock_steps_total{direction="back"}',
  "moontap_config_last_reload_timestamp_seconds{}", "moontap_config_broken_files{}",
  "moontap_playbooks{}",
}

-- The names of all series that a daemon with these playbooks has.
local function expected(names)
  local set = {}
  for _, key in ipairs(PROGRAM) do set[key] = true end
  for _, playbook in ipairs(names) do
    for name, label in pairs(BY_PLAYBOOK) do
      for i = 2, math.max(2, #label) do
        local parts = { ("playbook=%q"):format(playbook) }
        if label[i] then parts[2] = ("%s=%q"):format(label[1], label[i]) end
        table.sort(parts)
        set[("moontap_playbook_%s{%s}"):format(name, table.concat(parts, ","))] = true
      end
    end
  end
  return set
end

describe("/metrics", function()
  it("has all series from the start, and counts", function()
    place:simulate("--fault", "create:throttled_silent,count=1")
    place:playbook("two", [[
      for i = 1, 2 do
        assert(pcaps.create { type = "simple", time_limit = 60, packet_limit = 20,
          filter_v1 = { destination_port = 53 } })
      end]])
    place:write("pb/other.lua", 'return { api = 1, name = "a/b.c-d", on = { cron = "@daily" }, '
      .. "run = function() error 'no' end }")
    place:start()
    local _, before = exposition.read(place:get "/metrics")
    local set, build = {}, nil
    for key in pairs(before) do
      if key:find "^moontap_build_info" then build = key else set[key] = true end
    end
    assert.same(expected { "a/b.c-d", "two" }, set)
    assert.matches('^moontap_build_info{tzdb="%d%d%d%d%l",version="[%d.]+"}$', build)
    place:once "two"
    place:once "a/b.c-d"
    local _, after = exposition.read(place:get "/metrics")
    local function of(name, playbook)
      return after[("moontap_playbook_%s{playbook=%q}"):format(name, playbook)]
    end
    assert.equal(1, after['moontap_playbook_runs_total{playbook="two",result="ok"}'])
    assert.equal(1, after['moontap_playbook_runs_total{playbook="a/b.c-d",result="failed"}'])
    assert.equal(1, after['moontap_playbook_runs_started_total{playbook="two",trigger="manual"}'])
    assert.equal(3, of("quota_wait_seconds_count", "two"))
    assert.is_true(of("quota_wait_seconds_sum", "two") > 0.1) -- the second one's
    assert.equal(1, of("quota_slots_lost_total", "two")) -- the first one seemed free
    assert.equal(86400, of("expected_interval_seconds", "a/b.c-d"))
  end)
end)
