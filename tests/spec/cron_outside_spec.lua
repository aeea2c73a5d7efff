-- outside
-- What runs of a daemon reach besides the API: granted files and hosts, what they have downloaded,
-- and nothing else.

local command = require "support.command"
local lfs = require "lfs"
local daemons = require "support.daemon"

-- Answers each request with the same bytes.
local PEER <const> = [[$| = 1; $s = IO::Socket::INET->new(Listen => 9, LocalAddr => "127.0.0.1");
  print $s->sockport, "\n";
  while ($c = $s->accept) { while (<$c>) { last if $_ eq "\r\n" }
    print $c "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n\xff\x00";
    close $c }]]

local place, peer

before_each(function() place = daemons.new() end)
after_each(function()
  if peer then peer.signal "KILL" peer.wait() end
  peer = nil
  place:close()
end)

describe("a run", function()
  it("reads what it has downloaded, and what the operator lets it read", function()
    lfs.mkdir(place.dir .. "/lists")
    place:write("lists/targets", "203.0.113.10\n")
    place:write("secret", "do not show\n")
    assert(lfs.link("../secret", place.dir .. "/lists/link", true))
    place:simulate()
    place:write("policy.lua", ([[return { ["may"] = { files = { %q } }, ["*"] = {},
      ["wide"] = { files = { %q } } }]]):format(place.dir .. "/lists", place.dir .. "/lists"))
    local tries = ([[
      local dir = %q
      local function try(name)
        local f <close>, why, err = io.open(dir .. name)
        print(name, f and f:read() or err and err.kind or why)
      end
      try "/lists/targets" try "/lists/link" try "/secret" try "/lists/../secret"
      try "/state/moontap/state.db"]]):format(place.dir)
    place:playbook("may", [[
      local cap = assert(pcaps.create { type = "simple", time_limit = 60, packet_limit = 20,
        filter_v1 = { destination_port = 53 } })
      assert(cap:wait())
      local path = assert(cap:download())
      local f <close> = assert(io.open(path, "rb"))
      print("magic", ("<I4"):unpack(f:read(4)) == 0xa1b2c3d4)]] .. tries)
    local writes = ([[
      local cap = assert(pcaps.list())[1]
      for _, name in ipairs { "/lists/a.pcap", "/lists/way/b.pcap", "/lists/../c.pcap",
                              "/d.pcap", "/lists/none/e.pcap" } do
        local path, err = cap:download(%q .. name)
        print("write " .. name, path and "done" or err.kind)
      end]]):format(place.dir)
    assert(lfs.link("..", place.dir .. "/lists/way", true))
    place:playbook("wide", tries .. writes, ("grants = { files = { %q } },"):format(place.dir))
    place:start { args = { "--policy", place.dir .. "/policy.lua" } }
    -- the entry for all names no directory: every entry that matches has to pass
    local _, log = place:once "may"
    assert.matches("magic\ttrue\n", log)
    assert.matches("/lists/targets\tdenied\n", log)
    place:stop()
    place:write("policy.lua", ([[return { ["*"] = { files = { %q } } }]]):format(
      place.dir .. "/lists"))
    place:start { args = { "--policy", place.dir .. "/policy.lua" } }
    _, log = place:once "wide"
    assert.matches("/lists/targets\t203.0.113.10\n", log)
    assert.matches("/lists/link\tio\n", log)
    assert.matches("/secret\tdenied\n", log)
    assert.matches("/lists/../secret\tio\n", log)
    assert.matches("/state.db\tdenied\n", log)
    assert.matches("write /lists/a.pcap\tdone\n", log)
    assert.matches("write /lists/way/b.pcap\tdenied\n", log)
    assert.matches("write /lists/../c.pcap\tdenied\n", log)
    assert.matches("write /d.pcap\tdenied\n", log)
    assert.matches("write /lists/none/e.pcap\tio\n", log)
    for _, name in ipairs { "/b.pcap", "/c.pcap", "/d.pcap" } do
      assert.is_nil(lfs.attributes(place.dir .. name))
    end
    place:stop()
  end)

  it("gets by its own word, without a policy, what all users have, and new captures", function()
    for _, dir in ipairs { "/lists", "/lists/sub", "/lists/shut", "/away" } do
      lfs.mkdir(place.dir .. dir)
    end
    for name, mode in pairs { ["lists/open"] = "644", ["lists/token"] = "640",
                              ["away/open"] = "644",
                              ["lists/sub/open"] = "604", ["lists/shut/open"] = "644",
                              ["lists/there.pcap"] = "600", ["lists/shut"] = "710" } do
      if not name:find "shut$" then place:write(name, "text\n") end
      assert.is_true(os.execute(("chmod %s '%s/%s'"):format(mode, place.dir, name)))
    end
    assert(lfs.link("../away", place.dir .. "/lists/link", true))
    assert(lfs.link("nowhere", place.dir .. "/lists/dangling.pcap", true))
    place:simulate()
    place:playbook("own", ([[
      local cap = assert(pcaps.create { type = "simple", time_limit = 60, packet_limit = 20,
        filter_v1 = { destination_port = 53 } })
      assert(cap:wait())
      local dir = %q
      for _, name in ipairs { "lists/open", "lists/sub/open", "lists/token", "lists/shut/open",
          "lists/link/open", "away/open", "state/moontap/state.db" } do
        local f <close>, why, err = io.open(dir .. name)
        print("read " .. name, f and f:read() or err and err.kind or why, why)
      end
      for _, name in ipairs { "lists/new.pcap", "lists/there.pcap", "lists/dangling.pcap",
          "lists/cron", "lists/x.pcapng", "lists/link/new.pcap", "away/new.pcap",
          "state/moontap/new.pcap" } do
        local path, err = cap:download(dir .. name)
        print("write " .. name, path and "done" or err.kind, err and err.message)
      end]]):format(place.dir .. "/"), ("grants = { files = { %q, %q } },"):format(
        place.dir .. "/lists", place.dir .. "/state/"))
    place:start()
    local _, log = place:once "own"
    local function outcome(what)
      local at = select(2, log:find(what .. "\t", 1, true))
      return at and log:match("^[^\t\n]*", at + 1)
    end
    for what, expected in pairs {
      ["read lists/open"] = "text", ["read lists/sub/open"] = "text",
      ["read lists/token"] = "denied", ["read lists/shut/open"] = "denied",
      ["read lists/link/open"] = "io", ["read away/open"] = "denied",
      ["read state/moontap/state.db"] = "denied", ["write lists/new.pcap"] = "done",
      ["write lists/there.pcap"] = "denied", ["write lists/dangling.pcap"] = "denied",
      ["write lists/cron"] = "denied", ["write lists/x.pcapng"] = "done",
      ["write lists/link/new.pcap"] = "denied", ["write away/new.pcap"] = "denied",
      ["write state/moontap/new.pcap"] = "denied",
    } do
      assert.equal(expected, outcome(what), what .. " in\n" .. log)
    end
    assert.matches("lists/token refused: not every user of the machine may read it; the directory "
      .. "is named by the playbook alone; an operator's policy", log, 1, true)
    assert.is_nil(lfs.attributes(place.dir .. "/lists/cron"))
    assert.is_nil(lfs.attributes(place.dir .. "/away/new.pcap"))
  end)

  it("reaches hosts that are granted, by no other way", function()
    peer = command.start { "perl", "-MIO::Socket::INET", "-e", PEER }
    local port = command.poll(function() return peer.stdout():match "^(%d+)\n" end)
    local body = ([[
      local http, port = require "moontap.http", %s
      local function try(url, more)
        local request = more or {}
        request.url = url:gsub("PORT", port)
        local ok, answer, err = pcall(http.request, request)
        print(url, ok and answer and answer.body == "\255\0" and "bytes" or not ok and "raised"
          or err and err.kind)
      end
      try "http://127.0.0.1:PORT/"
      try "HTTP://LOCALHOST:PORT/"
      try "http://127.0.0.2:PORT/"
      try "http://127.0.0.1@127.0.0.2:PORT/"
      try "http://127.0.0.1:80@127.0.0.2:PORT/"
      try "http://127.0.0.1\\@127.0.0.2:PORT/"
      try "file:///etc/passwd"
      try("http://localhost:PORT/file", { to_file = "/tmp/never" })]]):format(port)
    place:playbook("web", body, 'grants = { http = { "127.0.0.1", "localhost" } },')
    place:playbook("none", body)
    place:start()
    local _, log = place:once "web"
    local function outcome(url)
      local at = select(2, log:find(url .. "\t", 1, true))
      return log:match("^[^\n]*", at + 1)
    end
    assert.equal("bytes", outcome "http://127.0.0.1:PORT/")
    assert.equal("bytes", outcome "HTTP://LOCALHOST:PORT/")
    assert.equal("denied", outcome "http://127.0.0.2:PORT/")
    assert.equal("raised", outcome "http://127.0.0.1@127.0.0.2:PORT/")
    assert.equal("raised", outcome "http://[hidden]@127.0.0.2:PORT/")
    assert.equal("denied", outcome "http://127.0.0.1\\@127.0.0.2:PORT/")
    assert.equal("denied", outcome "file:///etc/passwd")
    assert.equal("denied", outcome "http://localhost:PORT/file")
    _, log = place:once "none"
    assert.equal("denied", outcome "http://127.0.0.1:PORT/")
  end)
end)
