-- outside
-- Each script that ships with the product, on the embedded simulator, in virtual and in
-- compressed time.

local command = require "support.command"
local lfs = require "lfs"
local tempdir = require "support.tempdir"

local root = command.source
if root:sub(1, 1) ~= "/" then root = lfs.currentdir() .. "/" .. root end

-- Calls fn(run, dir), where run(NAME, ARG…) runs a script in directory dir and returns its output.
local function with(options, fn)
  tempdir.with(function(dir)
    fn(function(name, ...)
      local argv = { command.moontap, "run", "--sim" }
      table.move(options, 1, #options, #argv + 1, argv)
      argv[#argv + 1] = ("%s/scripts/%s.lua"):format(root, name)
      table.move({ ... }, 1, select("#", ...), #argv + 1, argv)
      local status, out, err = command.run(argv, { cwd = dir })
      assert.equal(0, status, err)
      assert.equal("", err)
      return out
    end, dir)
  end)
end

local clocks = { { "--virtual-time" }, { "--speed", "100" } }

for _, options in ipairs(clocks) do
  describe("with " .. options[1], function()
    it("first-capture gets a file", function()
      with(options, function(run, dir)
        local out = run "first-capture"
        local packets = out:match "^%x+\tsuccess\nfirst.pcap: (%d+) packets, %d+ bytes\n$"
        assert.is_true(tonumber(packets) > 100)
        assert.equal(0, (command.run { "tcpdump", "-nr", dir .. "/first.pcap" }))
        local _, others = command.run { "tcpdump", "-nr", dir .. "/first.pcap",
          "not (udp and dst host 203.0.113.10 and dst port 53)" }
        assert.equal("", others)
      end)
    end)

    it("full-capture runs its five minutes and finds the files", function()
      with(options, function(run)
        local out = run "full-capture"
        local total = tonumber(out:match "^%x+\tsuccess\t(%d+) packets\n")
        local sum = 0
        for packets in out:gmatch "_ord%d+%-%d+%.pcap\t(%d+) packets\n" do sum = sum + packets end
        assert.is_true(total > 1000)
        assert.equal(total, sum)
      end)
    end)

    it("ownership-setup ends with a validated bucket", function()
      with(options, function(run)
        assert.matches("\n%x+\tsuccess\ts3://moontap%-sim/full\n$", run "ownership-setup")
      end)
    end)

    it("several-filters gets each filter's packets", function()
      with(options, function(run, dir)
        local out = run("several-filters", dir)
        for name, filter in pairs { dns = "dst port 53", web = "tcp dst port 443",
                                    mail = "dst port 25" } do
          assert.matches(name .. "\t" .. dir .. "/" .. name .. ".pcap\t%d+ packets\n", out)
          local _, others = command.run { "tcpdump", "-nr", ("%s/%s.pcap"):format(dir, name),
            "not " .. (filter:gsub("^tcp (.*)", "(tcp and %1)")) }
          assert.equal("", others)
        end
      end)
    end)
  end)
end

describe("full-capture", function()
  -- Runs the script from another one, with code before and behind it.
  local function run(before, behind)
    local status, out, err = command.run({ command.moontap, "run", "--sim", "--virtual-time", "-e",
      ("%s assert(loadfile(%q, 't', _ENV))() %s"):format(before,
        root .. "/scripts/full-capture.lua", behind) })
    assert.equal(0, status, err)
    return out
  end

  it("stops when there is enough", function()
    local out = run([[
      local bucket = require "moontap.bucket"
      arg[1], arg[2], arg[3] = "ORD", bucket.simulated(), "500"
      assert(bucket.claim(arg[2]))]], "")
    local total = tonumber(out:match "success\t(%d+) packets")
    assert.is_true(total >= 500 and total < 5000, out)
  end)

  it("takes five minutes, and no socket, in virtual time", function()
    local out = run("local clock = require 'moontap.clock' local start = clock.now()", [[
      print("took", clock.now() - start)
      print(io.open("/proc/self/maps"):read("a"):match("server%.so") or "no server")
      os.execute("ls -l /proc/$PPID/fd")]])
    local seconds = tonumber(out:match "took\t(%S+)\n")
    assert.is_true(seconds > 300 and seconds < 320, out)
    assert.matches("no server\n", out)
    assert.not_matches("socket:", out)
  end)
end)

describe("a script that needs a bucket", function()
  it("asks for its name on a real account, before anything is sent", function()
    for _, name in ipairs { "full-capture", "ownership-setup" } do
      local status, out, err = command.run({ command.moontap, "run",
        ("%s/scripts/%s.lua"):format(root, name) }, { env = { CLOUDFLARE_API_TOKEN = "t",
        CLOUDFLARE_ACCOUNT_ID = "a", CLOUDFLARE_BASE_URL = "http://127.0.0.1:1" } })
      assert.equal(2, status)
      assert.equal("", out)
      assert.equal("moontap: name a bucket, such as s3://NAME/DIR?region=REGION\n", err)
    end
  end)
end)
