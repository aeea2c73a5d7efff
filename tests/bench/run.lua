-- Runs the benchmarks: each row against its peer in the same run, in interleaved rounds, so that
-- a machine which gets slower meanwhile slows both. Called by tools/bench.
-- usage: lua5.4 tests/bench/run.lua PROGRAM BENCH-DIR SCRATCH-DIR [--json] [--quick] [ROW...]

local program, bin, scratch = arg[1], arg[2], arg[3]
local here = arg[0]:match("^(.*)/[^/]*$")
local cjson = require "cjson"

local quick, json, wanted = false, false, {}
for i = 4, #arg do
  if arg[i] == "--quick" then quick = true
  elseif arg[i] == "--json" then json = true
  else wanted[#wanted + 1] = arg[i] end
end

local function say(...)
  io.stderr:write(string.format(...), "\n")
end

-- Numbers ---------------------------------------------------------------------------------------

local function summary(values)
  local sorted = table.move(values, 1, #values, 1, {})
  table.sort(sorted)
  local n = #sorted
  local middle = n % 2 == 1 and sorted[n // 2 + 1] or (sorted[n // 2] + sorted[n // 2 + 1]) / 2
  return { median = middle, min = sorted[1], max = sorted[n] }
end

local function map(list, fn)
  local out = {}
  for i, value in ipairs(list) do out[i] = fn(value, i) end
  return out
end

-- Commands --------------------------------------------------------------------------------------

local function quote(word)
  return "'" .. word:gsub("'", "'\\''") .. "'"
end

local function shell(words)
  return table.concat(map(words, quote), " ")
end

local function lines_of(command)
  local pipe = assert(io.popen(command))
  local lines = {}
  for line in pipe:lines() do lines[#lines + 1] = line end
  if not pipe:close() then error(lines[#lines] or "a command failed", 0) end
  return lines
end

-- Runs `commands` (lists of words, variables first) in turn; for each of them the list of
-- { cpu, wall, rss } of its rounds: microseconds and KiB.
local function measure(rounds, batch, commands)
  local words = { bin .. "/measure", tostring(rounds), tostring(batch) }
  for i, command in ipairs(commands) do
    if i > 1 then words[#words + 1] = "---" end
    table.move(command, 1, #command, #words + 1, words)
  end
  local results = map(commands, function() return {} end)
  for _, line in ipairs(lines_of(shell(words))) do
    local index, cpu, wall, rss = line:match("^(%d+) (%S+) (%S+) (%d+)$")
    local rows = results[tonumber(index)]
    rows[#rows + 1] = { cpu = tonumber(cpu), wall = tonumber(wall), rss = tonumber(rss) }
  end
  return results
end

local function column(rounds, name, scale)
  return map(rounds, function(round) return round[name] / scale end)
end

-- What one more of something costs: two runs of different length, so that starting cancels out.
local function difference(short, long, count, name)
  name = name or "cpu"
  return map(long, function(round, i) return (round[name] - short[i][name]) / count end)
end

-- Without the gate, unless it is asked for.
local function env_of(base_url, more, gate)
  local words = {
    "MOONTAP_GATE=" .. (gate or "off"),
    "CLOUDFLARE_BASE_URL=" .. base_url,
    "CLOUDFLARE_ACCOUNT_ID=f037e56e89293a057740de681ac9abbe",
    "CLOUDFLARE_API_TOKEN=0123456789abcdef0123456789abcdef01234567",
    "XDG_STATE_HOME=" .. scratch,
  }
  return table.move(more or {}, 1, #(more or {}), #words + 1, words)
end

local function with(env, ...)
  local words = table.move(env, 1, #env, 1, {})
  return table.move({ ... }, 1, select("#", ...), #words + 1, words)
end

-- The other end ---------------------------------------------------------------------------------

local servers = 0

-- Starts a server for as long as `fn(port)` runs.
local function with_server(options, fn)
  servers = servers + 1
  local port_file = scratch .. "/port." .. servers
  local words = { bin .. "/answer_server", port_file }
  table.move(options, 1, #options, 3, words)
  os.remove(port_file)
  local server = assert(io.popen("exec " .. shell(words), "w"))
  local port
  for _ = 1, 200 do
    local file = io.open(port_file)
    port = file and file:read("n")
    if file then file:close() end
    if port then break end
    os.execute("sleep 0.02")
  end
  local ok, why
  if port then ok, why = pcall(fn, port) else ok, why = false, "the server did not start" end
  server:close() -- it ends with its standard input
  if not ok then error(why, 0) end
  return why
end

local function url(scheme, port)
  return ("%s://127.0.0.1:%d/client/v4"):format(scheme, port)
end

local function pcaps_url(base)
  return base .. "/accounts/f037e56e89293a057740de681ac9abbe/pcaps"
end

local function curl_words(target, more)
  local words = {
    "curl", "-s", "-S", "-f", "-X", "POST",
    "-H", "Authorization: Bearer 0123456789abcdef0123456789abcdef01234567",
    "-H", "Content-Type: application/json", "-d",
    '{"type":"simple","system":"magic-transit","time_limit":300,"packet_limit":10000,' ..
      '"filter_v1":{"destination_address":"203.0.113.10","destination_port":53,"protocol":17}}',
  }
  table.move(more or {}, 1, #(more or {}), #words + 1, words)
  words[#words + 1] = target
  return words
end

-- A private authority, trusted the two ways a system does: inside a copy of its bundle file (for
-- curl, which reads the file) and in a copy of its hashed directory (for moontap).
local tls
local function make_tls()
  if tls then return tls end
  local dir = scratch .. "/tls"
  local script = [[
    set -eu
    rm -rf "$0"; mkdir -p "$0/roots"; cd "$0"
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 \
      -subj "/CN=benchmark authority" -keyout ca.key -out ca.pem
    openssl req -x509 -CA ca.pem -CAkey ca.key -newkey ec -pkeyopt ec_paramgen_curve:P-256 \
      -nodes -days 2 -subj "/CN=127.0.0.1" -addext "subjectAltName=IP:127.0.0.1" \
      -addext "basicConstraints=critical,CA:FALSE" -keyout server.key -out server.pem
    cat /etc/ssl/certs/ca-certificates.crt ca.pem >bundle.pem
    for file in /etc/ssl/certs/*.[0-9]; do ln -s "$(readlink -f "$file")" "roots/${file##*/}"; done
    ln -s "$PWD/ca.pem" "roots/$(openssl x509 -hash -noout -in ca.pem).0"
  ]]
  if not os.execute("sh -c " .. quote(script) .. " " .. quote(dir) .. " >/dev/null 2>&1") then
    error("openssl cannot make the certificates", 0)
  end
  tls = {
    server = { "--tls", dir .. "/server.pem", dir .. "/server.key" },
    bundle = dir .. "/bundle.pem",
    roots = dir .. "/roots",
  }
  return tls
end

-- Rows ------------------------------------------------------------------------------------------

local script = function(name) return here .. "/" .. name .. ".lua" end

local rows = {}
local function row(name, what, fn)
  rows[#rows + 1] = { name = name, what = what, run = fn }
end

row("empty", "empty script, CPU", function()
  local got = measure(quick and 9 or 41, 10, {
    { program, "run", script "empty" }, { "lua5.4", script "empty" },
  })
  return {
    unit = "ms", target = 1.0, peer = "lua5.4",
    ours = column(got[1], "cpu", 1e3), theirs = column(got[2], "cpu", 1e3),
  }
end)

local function first_create(scheme, server, more, curl_more, target)
  return with_server(server, function(port)
    local base = url(scheme, port)
    local got = measure(quick and 7 or 31, 4, {
      with(env_of(base, more), program, "run", script "first"),
      curl_words(pcaps_url(base), curl_more),
    })
    return {
      unit = "ms", target = target, peer = "curl",
      ours = column(got[1], "cpu", 1e3), theirs = column(got[2], "cpu", 1e3),
    }
  end)
end

row("first-plain", "start to first create, CPU", function()
  return first_create("http", {}, {}, {}, 1.1)
end)

row("first-tls", "the same over TLS, the system's roots", function()
  local t = make_tls()
  return first_create("https", t.server, { "SSL_CERT_DIR=" .. t.roots },
    { "--cacert", t.bundle }, 0.45)
end)

row("creates", "a create after the other, CPU", function()
  local short, long = 100, 2100
  return with_server({}, function(port)
    local base = url("http", port)
    local env, bare = env_of(base), bin .. "/bare_create"
    local got = measure(quick and 7 or 31, 1, {
      with(env, program, "run", script "creates", tostring(short)),
      with(env, program, "run", script "creates", tostring(long)),
      { bare, pcaps_url(base), tostring(short) }, { bare, pcaps_url(base), tostring(long) },
    })
    return {
      unit = "us", target = 1.15, peer = "bare libcurl",
      ours = difference(got[1], got[2], long - short),
      theirs = difference(got[3], got[4], long - short),
    }
  end)
end)

-- Every create is written down and synced before it is sent, and so is its outcome. The limit of one
-- a minute is divided away.
row("gate", "what quota and journal add to a create, wall", function()
  local short, long = 50, quick and 250 or 550
  return with_server({}, function(port)
    local base = url("http", port)
    local function creates(gate, count)
      return with(env_of(base, {}, gate), program, "run", "--speed", "1e9",
        script "creates", tostring(count))
    end
    local got = measure(quick and 3 or 11, 1, { creates("off", short), creates("off", long),
      creates("on", short), creates("on", long) })
    local without = difference(got[1], got[2], long - short, "wall")
    local gated = difference(got[3], got[4], long - short, "wall")
    return { unit = "ms", limit = 0.5,
             ours = map(gated, function(cost, i) return (cost - without[i]) / 1e3 end) }
  end)
end)

row("gate-first", "start to first create with quota and journal, CPU", function()
  return with_server({}, function(port)
    local base = url("http", port)
    local got = measure(quick and 7 or 21, 4, {
      with(env_of(base, {}, "on"), program, "run", "--speed", "1e9", script "first"),
      curl_words(pcaps_url(base), {}),
    })
    return { unit = "ms", target = math.huge, peer = "curl", ours = column(got[1], "cpu", 1e3),
             theirs = column(got[2], "cpu", 1e3) }
  end)
end)

-- The packages that tools/npm installs.
local function packages()
  local dir = here .. "/../../build/npm"
  local file = io.open(dir .. "/installed.json")
  if not file then error("the npm packages are missing; tools/npm installs them", 0) end
  file:close()
  return dir
end

-- The official client.
local function sdk(base, count)
  return { "node", here .. "/sdk.cjs", packages(), base, tostring(count) }
end

row("creates-sdk", "a create after the other, the SDK's", function()
  local short, long = 50, quick and 350 or 550
  return with_server({}, function(port)
    local base = url("http", port)
    local env = env_of(base)
    local got = measure(quick and 3 or 7, 1, {
      with(env, program, "run", script "creates", tostring(short)),
      with(env, program, "run", script "creates", tostring(long)),
      sdk(base, short), sdk(base, long),
    })
    return {
      unit = "us", target = 1 / 9, peer = "official SDK",
      ours = difference(got[1], got[2], long - short),
      theirs = difference(got[3], got[4], long - short),
    }
  end)
end)

row("first-sdk", "start to first create, the SDK's, CPU", function()
  return with_server({}, function(port)
    local base = url("http", port)
    local got = measure(quick and 3 or 7, 1, {
      with(env_of(base), program, "run", script "first"), sdk(base, 1),
    })
    return {
      unit = "ms", target = 1 / 50, peer = "official SDK",
      ours = column(got[1], "cpu", 1e3), theirs = column(got[2], "cpu", 1e3),
    }
  end)
end)

local CALLGRIND = { "valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null" }

-- User-space instructions of one run; variables come first in `words`.
local function instructions(words)
  for _, line in ipairs(lines_of("timeout 120 env " .. shell(words) .. " 2>&1")) do
    local count = line:match("Collected : (%d+)")
    if count then return tonumber(count) end
  end
  error("callgrind gave no count", 0)
end

row("instructions", "the same, user-space instructions", function()
  local short, long = 50, 350
  return with_server({}, function(port)
    local base = url("http", port)
    local env, bare = env_of(base), bin .. "/bare_create"
    local function each(words)
      local fewer = instructions(with(words, tostring(short)))
      return (instructions(with(words, tostring(long))) - fewer) / (long - short)
    end
    return {
      unit = "instr", target = 1.7, peer = "bare libcurl",
      ours = { each(with(with(env, table.unpack(CALLGRIND)), program, "run", script "creates")) },
      theirs = { each(with(CALLGRIND, bare, pcaps_url(base))) },
    }
  end)
end)

local function in_flight(tasks, target)
  local short, long = tasks, tasks + (quick and 4000 or 9000)
  return with_server({}, function(port)
    local base = url("http", port)
    local env, bare, n = env_of(base), bin .. "/bare_multi", tostring(tasks)
    local got = measure(quick and 5 or 15, 1, {
      with(env, program, "run", script "flight", tostring(short), n),
      with(env, program, "run", script "flight", tostring(long), n),
      { bare, pcaps_url(base), tostring(short), n }, { bare, pcaps_url(base), tostring(long), n },
    })
    return {
      unit = "us", target = target, peer = "bare libcurl",
      ours = difference(got[1], got[2], long - short),
      theirs = difference(got[3], got[4], long - short),
      rss = summary(column(got[2], "rss", 1024)),
      peer_rss = summary(column(got[4], "rss", 1024)),
    }
  end)
end

row("flight-64", "64 creates in flight, CPU each", function() return in_flight(64, 1.25) end)

local flight_1000
local function get_flight_1000()
  flight_1000 = flight_1000 or in_flight(1000, 0.8)
  return flight_1000
end
row("flight-1000", "1,000 creates in flight, CPU each", get_flight_1000)
row("flight-1000-rss", "the same, resident memory", function()
  local got = get_flight_1000()
  return {
    unit = "MiB", limit = 20, peer = "bare libcurl",
    ours = { got.rss.median }, theirs = { got.peer_rss.median },
  }
end)

row("tls-again", "one more TLS connection and create", function()
  local t = make_tls()
  local server = with(t.server, "--close")
  return with_server(server, function(port)
    local base = url("https", port)
    local env = env_of(base, { "SSL_CERT_DIR=" .. t.roots })
    local short, long = 20, 120
    local got = measure(quick and 5 or 15, 1, {
      with(env, program, "run", script "creates", tostring(short)),
      with(env, program, "run", script "creates", tostring(long)),
      { bin .. "/bare_create", pcaps_url(base), tostring(short), t.roots },
      { bin .. "/bare_create", pcaps_url(base), tostring(long), t.roots },
    })
    return {
      unit = "us", limit = 1000, peer = "bare libcurl",
      ours = difference(got[1], got[2], long - short),
      theirs = difference(got[3], got[4], long - short),
    }
  end)
end)

row("cancel", "cancel while a name server is silent", function()
  local env = env_of("https://silent.invalid/client/v4",
    { "LD_PRELOAD=" .. bin .. "/silent_resolver.so" })
  local words = with(env, program, "run", script "cancel")
  local times = {}
  for i = 1, quick and 3 or 7 do
    times[i] = assert(tonumber(lines_of("timeout 60 env " .. shell(words))[1]))
  end
  return { unit = "ms", limit = 5, ours = times }
end)

local sleepers = {}
local function sleep_rows(spread)
  if not sleepers[spread] then
    local got = { bytes = {}, wake = {} }
    for i = 1, quick and 1 or 5 do
      local words = { "timeout", "60", program, "run", script "sleepers", "10000", "3",
                      tostring(spread) }
      local lines = lines_of(shell(words))
      got.bytes[i], got.wake[i] = tonumber(lines[1]), tonumber(lines[2])
    end
    sleepers[spread] = got
  end
  return sleepers[spread]
end

row("sleep-bytes", "memory of a sleeping task (of 10,000)", function()
  return { unit = "bytes", limit = 1300, ours = sleep_rows(0).bytes }
end)
row("wake-common", "a sleep and its end, all at once, CPU", function()
  return { unit = "us", limit = 0.75, ours = sleep_rows(0).wake }
end)
row("wake-spread", "the same, spread over a second", function()
  return { unit = "us", limit = 2.5, ours = sleep_rows(1).wake }
end)

row("child-start", "start of a playbook's process to its first line", function()
  local ours, theirs = {}, {}
  for i = 1, quick and 5 or 21 do
    local words = { "timeout", "60", program, "run", script "child", "20" }
    ours[i] = assert(tonumber(lines_of(shell(words))[1]))
    theirs[i] = measure(1, 20, { { "lua5.4", "-e", "" } })[1][1].wall / 1e3
  end
  return { unit = "ms", target = 1.5, peer = "lua5.4", ours = ours, theirs = theirs }
end)

-- The prompt -----------------------------------------------------------------------------------

local function keys(env, ...)
  return map(lines_of(shell(with(with({ "env" }, table.unpack(env)), bin .. "/keys", ...))),
    function(line) return tonumber(line) / 1e3 end)
end

row("repl-start", "start to prompt", function()
  local ours, theirs = {}, {}
  local env = env_of "http://127.0.0.1:9"
  for i = 1, quick and 7 or 21 do
    ours[i] = keys(env, "start", "1", "> ", program, "repl")[1]
    theirs[i] = keys({}, "start", "1", "> ", "lua5.4", "-i")[1]
  end
  return { unit = "ms", target = 2, peer = "lua5.4 -i", ours = ours, theirs = theirs }
end)

-- A thousand tasks sleep, a hundred requests a second go to the simulator in the same process.
row("key-echo", "key to echo under load, p99", function()
  local rounds = {}
  for i = 1, quick and 1 or 5 do
    local times = keys(env_of "http://127.0.0.1:9", "echo", quick and "200" or "400", "> ",
      here .. "/load.repl", program, "repl", "--sim", "--knob", "rate_limit=0")
    table.sort(times)
    rounds[i] = times[math.ceil(#times * 0.99)]
  end
  return { unit = "ms", limit = 16, ours = rounds }
end)

-- Schedules ------------------------------------------------------------------------------------

local function schedule_words(expression, zone, count)
  return { program, "run", script "cron", expression, zone, tostring(count) }
end

row("cron-year", "a year of * * * * *, each next, CPU", function()
  local got = measure(quick and 3 or 9, 1, {
    schedule_words("* * * * *", "Europe/Berlin", 1),
    schedule_words("* * * * *", "Europe/Berlin", 525601),
  })
  return { unit = "ms", limit = 500, ours = difference(got[1], got[2], 1e3) }
end)

row("cron-next", "the next of 30 2 * * mon-fri, CPU", function()
  local expression, zone = "30 2 * * mon-fri", "Europe/Berlin"
  local short, long, few, more = 1000, 201000, 100, quick and 2100 or 5100
  local function croner(count)
    return { "node", here .. "/cron.cjs", packages(), expression, zone, tostring(count) }
  end
  local got = measure(quick and 3 or 9, 1, {
    schedule_words(expression, zone, short), schedule_words(expression, zone, long),
    croner(few), croner(more),
  })
  return {
    unit = "us", target = 1 / 10, peer = "croner",
    ours = difference(got[1], got[2], long - short),
    theirs = difference(got[3], got[4], more - few),
  }
end)

-- Playbooks ------------------------------------------------------------------------------------

local function playbooks(mode, count)
  return lines_of(shell { program, "run", script "playbooks", mode, tostring(count) })
end

row("playbooks-load", "10,000 playbooks loaded and scheduled", function()
  return { unit = "s", limit = 2, ours = { tonumber(playbooks("load", quick and 1000 or 10000)[1]) } }
end)

row("playbooks-memory", "memory with 10,000 playbooks", function()
  return { unit = "MB", limit = 100,
           ours = { tonumber(playbooks("load", quick and 1000 or 10000)[2]) } }
end)

row("playbooks-reload", "the same loaded anew when one has changed", function()
  return { unit = "s", limit = math.huge,
           ours = { tonumber(playbooks("load", quick and 1000 or 10000)[3]) } }
end)

row("playbooks-lag", "due time to start, one playbook", function()
  local lags = {}
  for i = 1, quick and 1 or 5 do lags[i] = tonumber(playbooks("due", 1)[1]) * 1000 end
  return { unit = "ms", limit = 100, ours = lags }
end)

row("playbooks-due", "1,000 due in one second, start lag, p99", function()
  local lags = {}
  for i = 1, quick and 1 or 3 do
    lags[i] = tonumber(playbooks("due", quick and 100 or 1000)[1])
  end
  return { unit = "s", limit = 2, ours = lags }
end)

-- Report ----------------------------------------------------------------------------------------

local function judge(result)
  local ours = summary(result.ours)
  local theirs = result.theirs and summary(result.theirs)
  local ratio = theirs and ours.median / theirs.median
  local ok
  if result.target then ok = ratio <= result.target else ok = ours.median <= result.limit end
  return ours, theirs, ratio, ok
end

local function number(x, unit)
  if unit == "instr" then return ("%.0f"):format(x) end
  return (x >= 100 and "%.0f" or x >= 10 and "%.1f" or "%.2f"):format(x)
end

local function with_spread(s, unit)
  if not s then return "-" end
  if s.min == s.max then return number(s.median, unit) end
  return ("%s (%s..%s)"):format(number(s.median, unit), number(s.min, unit), number(s.max, unit))
end

local function is_wanted(name)
  if #wanted == 0 then return true end
  for _, other in ipairs(wanted) do
    if other == name then return true end
  end
  return false
end

for _, name in ipairs(wanted) do
  local known = false
  for _, r in ipairs(rows) do known = known or r.name == name end
  if not known then
    say("bench: no row is called %s; there are: %s", name,
      table.concat(map(rows, function(r) return r.name end), " "))
    os.exit(2)
  end
end

local form = "%-16s %-38s %-6s %-24s %-13s %-24s %6s %10s  %s"
local out, failed = {}, false
if not json then
  print(form:format("row", "what", "unit", "moontap", "peer", "peer's", "ratio", "target", ""))
end
for _, r in ipairs(rows) do
  if is_wanted(r.name) then
    local ran, result = pcall(r.run)
    if not ran then
      failed = true
      say("bench: %s: %s", r.name, result)
    else
      local ours, theirs, ratio, ok = judge(result)
      out[#out + 1] = {
        row = r.name, what = r.what, unit = result.unit, moontap = ours, peer = result.peer,
        peer_result = theirs, ratio = ratio, target_ratio = result.target,
        target_value = result.limit, ok = ok,
      }
      if not json then
        print(form:format(r.name, r.what, result.unit, with_spread(ours, result.unit),
          result.peer or "-", with_spread(theirs, result.unit),
          ratio and (ratio < 0.01 and "%.4f" or "%.2f"):format(ratio) or "-",
          result.target and ("<= %.2fx"):format(result.target) or "<= " .. result.limit,
          ok and "ok" or "miss"))
        io.stdout:flush()
      end
    end
  end
end
if json then print(cjson.encode(out)) end
os.exit(failed and 1 or 0)
