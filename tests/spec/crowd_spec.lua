-- outside
-- Two hundred processes that ask for the slot of one account at once.

local command = require "support.command"
local fast_sim = require "support.fast_sim"
local tempdir = require "support.tempdir"

local SPEED <const> = 1440
local AT_ONCE <const> = os.getenv "ASAN_OPTIONS" and 40 or 200 -- slow ones are fewer

local dir, sim

before_each(function()
  dir = tempdir.new()
  sim = fast_sim.start(dir, SPEED)
end)
after_each(function()
  sim:stop()
  tempdir.remove(dir)
end)

it("processes that ask at once are served in turn, the dead left out", function()
  local line = [[asked() {
  sqlite3 -cmd '.timeout 60000' "$XDG_STATE_HOME/moontap/state.db" 'SELECT count(*) FROM intents'
} 2>/dev/null
for i in $(seq %d); do "$0" run --speed %d -e "$1" & pids+=($!); done
until [ "$(asked)" -ge %d ] 2>/dev/null; do sleep 0.1; done
kill -9 "${pids[3]}" "${pids[30]}"
ok=0; for pid in "${pids[@]}"; do wait "$pid" && ok=$((ok + 1)); done; echo $ok]]
  line = line:format(AT_ONCE, SPEED, AT_ONCE // 2)
  local status, out, err = command.run({ "bash", "-c", line, command.moontap,
    "assert(pcaps.create({ type = 'simple', time_limit = 60, packet_limit = 5 }, "
    .. "{ deadline = 200 }))" }, { cwd = dir, env = sim.env, limit = 300 })
  assert.equal(0, status, err)
  local ok = tonumber(out)
  assert.is_true(ok >= AT_ONCE - 2, err)
  local caps = sim:list_all()
  assert.is_true(#caps >= ok and #caps <= AT_ONCE)
  assert.equal("0\n", sim:query "SELECT count(*) FROM intents WHERE settled IS NULL")
  -- in the order of asking
  assert.equal("0\n", sim:query("SELECT count(*) FROM intents a JOIN intents b ON b.id = a.id + 1 "
    .. "WHERE b.sent < a.sent"))
  assert.equal("0\n", sim:query "SELECT count(*) FROM intents WHERE attempts > 1")
end)
