-- clock: virtual
-- The packets of the simulator: real files, right packets, the same ones each time.

local clock = require "moontap.clock"
local support = require "support.sim"

local DNS = { destination_address = "203.0.113.10", destination_port = 53, protocol = 17 }

---Filters with what tcpdump calls them.
local FILTERS = {
  { DNS, "dst host 203.0.113.10 and udp dst port 53" },
  { { protocol = 6 }, "tcp" },
  { { protocol = 1 }, "icmp" },
  { { destination_port = 443 }, "dst port 443" },
  { { source_port = 123 }, "src port 123" },
  { { destination_address = "203.0.113.20", protocol = 17 }, "dst host 203.0.113.20 and udp" },
  { { destination_port = 445, protocol = 6 }, "tcp dst port 445" },
}

local function start(options)
  options = options or {}
  options.knobs = support.with({ simple_interval = 0 }, options.knobs or {})
  return support.start(finally, options)
end

local function strings(bytes)
  local set = {}
  for _, packet in ipairs(support.read_pcap(bytes)) do
    set[packet.us .. packet.bytes] = true
  end
  return set
end

describe("a downloaded file", function()
  it("is read by tcpdump and capinfos, which count the same packets", function()
    local bytes = start():capture { filter_v1 = DNS }
    local file = support.read_pcap(bytes)
    assert.equal(101, file.link)
    assert.equal(160, file.snaplen)
    assert.is_true(#file > 1000)
    local _, lines = support.pipe("tcpdump -nr FILE", bytes):gsub("\n", "")
    assert.equal(#file, lines)
    local info = support.pipe("capinfos -M -c -E FILE", bytes)
    assert.equal(#file, tonumber(info:match "Number of packets: *(%d+)"))
    assert.matches("rawip", info)
  end)

  it("holds a filter's packets, and all of them", function()
    local client = start()
    local offset = clock.format(clock.now())
    local all = client:capture { time_limit = 30, offset_time = offset }
    for _, case in ipairs(FILTERS) do
      local bytes = client:capture { filter_v1 = case[1], time_limit = 30, offset_time = offset }
      assert.equal("", support.pipe("tcpdump -nr FILE 'not (" .. case[2] .. ")'", bytes))
      local _, wanted = support.pipe("tcpdump -nr FILE '" .. case[2] .. "'", all):gsub("\n", "")
      assert.equal(wanted, #support.read_pcap(bytes), case[2])
      local known = strings(all)
      for packet in pairs(strings(bytes)) do
        assert.is_true(known[packet])
      end
    end
  end)

  it("finds by the source that another capture showed", function()
    local client = start()
    local offset = clock.format(clock.now())
    local bytes = client:capture { filter_v1 = DNS, offset_time = offset }
    local counts, best = {}, nil
    for _, packet in ipairs(support.read_pcap(bytes)) do
      local source = ("%d.%d.%d.%d"):format(packet.bytes:byte(13, 16))
      counts[source] = (counts[source] or 0) + 1
      if not best or counts[source] > counts[best] then
        best = source
      end
    end
    local found = client:capture { filter_v1 = support.with(DNS, { source_address = best }),
                                   offset_time = offset }
    assert.equal(counts[best], #support.read_pcap(found))
  end)

  it("has right checksums and whole packets with a large snaplen", function()
    local client = start { knobs = { simple_snaplen = 65535 } }
    local bytes = client:capture { packet_limit = 1000 }
    local shown = support.pipe("tcpdump -vvnr FILE", bytes)
    for _, complaint in ipairs { "bad cksum", "bad udp cksum", "incorrect", "wrong" } do
      assert.is_nil(shown:find(complaint, 1, true), complaint)
    end
    for _, packet in ipairs(support.read_pcap(bytes)) do
      assert.equal(packet.length, #packet.bytes)
      assert.equal(packet.length, (">I2"):unpack(packet.bytes, 3))
    end
  end)

  it("keeps the first 160 bytes and the length of each packet", function()
    local cut = 0
    for _, packet in ipairs(support.read_pcap((start():capture { packet_limit = 1000 }))) do
      assert.equal(math.min(packet.length, 160), #packet.bytes)
      cut = cut + (packet.length > 160 and 1 or 0)
    end
    assert.is_true(cut > 100)
  end)

  it("lies within the window, in order, spread over all of it", function()
    local client = start()
    local offset = math.floor(clock.now()) - 5000.5
    local bytes = client:capture { time_limit = 100, packet_limit = 500,
                                   offset_time = clock.format(offset) }
    local file = support.read_pcap(bytes)
    assert.equal(500, #file)
    local last = (offset - 100) * 1e6
    for _, packet in ipairs(file) do
      assert.is_true(packet.us >= last)
      last = packet.us
    end
    assert.is_true(last <= offset * 1e6)
    assert.is_true(file[1].us < (offset - 90) * 1e6)
    assert.is_true(last > (offset - 10) * 1e6)
  end)

  it("is a header when nothing matched", function()
    local bytes = start():capture { filter_v1 = { source_address = "2001:db8::1" } }
    assert.equal(24, #bytes)
    assert.equal("", support.pipe("tcpdump -nr FILE", bytes))
  end)

  it("comes in other forms when a knob says so", function()
    local count = #support.read_pcap((start():capture { filter_v1 = DNS, time_limit = 20 }))
    for _, knobs in ipairs { { link_type = "ethernet" }, { byte_order = "big" },
                             { precision = "nano" } } do
      local bytes = start { knobs = knobs }:capture { filter_v1 = DNS, time_limit = 20 }
      local _, lines = support.pipe("tcpdump -nr FILE udp dst port 53", bytes):gsub("\n", "")
      assert.is_true(math.abs(lines - count) < count)
      assert.is_true(lines > 0)
    end
  end)
end)

describe("traffic", function()
  it("is the same for the same seed and window, whoever asks", function()
    local window = { time_limit = 30, offset_time = clock.format(clock.now()) }
    local first = start { seed = 7 }:capture(window)
    moontap.sleep(1000)
    assert.is_true(first == start { seed = 7 }:capture(window))
    assert.is_false(first == start { seed = 8 }:capture(window))
  end)

  it("overlaps where windows overlap", function()
    local client = start()
    local now = math.floor(clock.now())
    local early = strings(client:capture { time_limit = 20, offset_time = clock.format(now - 10) })
    local late = strings(client:capture { time_limit = 20, offset_time = clock.format(now) })
    local common = 0
    for packet in pairs(early) do
      common = common + (late[packet] and 1 or 0)
    end
    local both = client:capture { time_limit = 10, offset_time = clock.format(now - 10) }
    assert.equal(#support.read_pcap(both), common)
    assert.is_true(common > 50)
  end)

  it("is sampled from what a full capture sees", function()
    local client = start { knobs = { simple_snaplen = 65535 } }
    client:validate_bucket()
    local whole = {}
    local capture = client:create(nil, { type = "full", system = "magic-transit", time_limit = 10,
      colo_name = "fra06", destination_conf = support.BUCKET })
    moontap.sleep(16)
    client:ok("GET", "pcaps/" .. capture.id)
    for _, name in ipairs(client:bucket_files(capture.id)) do
      local f <close> = assert(io.open(client:bucket_path(name), "rb"))
      for _, packet in ipairs(support.read_pcap(f:read "a")) do
        whole[packet.us .. packet.bytes] = true
      end
    end
    local from = clock.parse(capture.submitted) + 2
    local sampled = client:capture { time_limit = 10, offset_time = clock.format(from + 10) }
    local found, total = 0, 0
    for packet in pairs(strings(sampled)) do
      found, total = found + (whole[packet] and 1 or 0), total + 1
    end
    assert.is_true(found > total / 20)
    assert.is_true(found < total / 2)
  end)

  it("has attacks that begin and end", function()
    local data = support.with(require "moontap.scenarios.baseline", { attacks = { {
      name = "flood", clients = "scanners", address = "203.0.113.10", protocol = "udp",
      source_port = "random", port = 53, pps = 4000, start = 100, duration = 60,
      packets = { { payload = "random", size = { 400, 400 } } } } } })
    local client = start { scenario = data }
    local began = math.floor(clock.now())
    moontap.sleep(300)
    local function count(from, to)
      return #support.read_pcap((client:capture { filter_v1 = DNS, time_limit = to - from,
        packet_limit = 2000, offset_time = clock.format(began + to) }))
    end
    assert.is_true(count(40, 99) < 1000)
    assert.equal(2000, count(100, 160))
    assert.is_true(count(161, 220) < 1000)
  end)
end)
