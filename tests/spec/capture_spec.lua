-- What moontap.capture reads from capture files, whole and broken ones.

local capture = require "moontap.capture"
local errors = require "moontap.errors"
local tempdir = require "support.tempdir"

local MICRO <const>, NANO <const> = 0xa1b2c3d4, 0xa1b23c4d

-- A pcap file with packets { seconds, fraction, data }.
local function make(order, magic, packets)
  local parts = { (order .. "I4I2I2i4I4I4I4"):pack(magic, 2, 4, 0, 0, 160, 101) }
  for _, packet in ipairs(packets) do
    parts[#parts + 1] = (order .. "I4I4I4I4"):pack(packet[1], packet[2], #packet[3], 1500)
    parts[#parts + 1] = packet[3]
  end
  return table.concat(parts)
end

local function open(bytes)
  return tempdir.with(function(dir)
    local path = dir .. "/x.pcap"
    local file <close> = assert(io.open(path, "wb"))
    file:write(bytes):flush()
    return capture.open(path)
  end)
end

local PACKETS <const> = { { 100, 500000, "abc" }, { 101, 250000, "" }, { 102, 0, "defg" } }

describe("moontap.capture.open", function()
  for _, order in ipairs { "<", ">" } do
    it("counts packets in either byte order: " .. order, function()
      local bytes = make(order, MICRO, PACKETS)
      local file = assert(open(bytes))
      assert.equal(3, file.packets)
      assert.equal(#bytes, file.bytes)
      assert.equal(160, file.snaplen)
      assert.equal(101, file.link_type)
      assert.equal(100.5, file.first)
      assert.equal(102, file.last)
    end)
  end

  it("knows nanoseconds", function()
    assert.equal(100.25, assert(open(make("<", NANO, { { 100, 250000000, "a" } }))).first)
  end)

  it("takes an empty capture for what it is", function()
    local file = assert(open(make("<", MICRO, {})))
    assert.equal(0, file.packets)
    assert.is_nil(file.first)
  end)

  it("says what is wrong with a file, at every length it can be cut to", function()
    local bytes = make("<", MICRO, PACKETS)
    local whole = { [24] = 0, [24 + 19] = 1, [24 + 19 + 16] = 2, [#bytes] = 3 }
    for n = 0, #bytes do
      local file, err = open(bytes:sub(1, n))
      if whole[n] then
        assert.equal(whole[n], file.packets)
      else
        assert.is_nil(file)
        assert.is_true(errors.is(err, "io"))
        assert.matches("/x%.pcap: ", err.message)
      end
    end
  end)

  it("does not believe a record that claims too much", function()
    local bytes = make("<", MICRO, {}) .. ("<I4I4I4I4"):pack(1, 2, 0xffffffff, 5)
    assert.matches("record 1 claims 4294967295 bytes", select(2, open(bytes)).message)
  end)

  it("refuses what is no capture, or is not there", function()
    assert.matches("no pcap file", select(2, open("hello, this is not a capture file")).message)
    assert.is_true(errors.is(select(2, capture.open "/nowhere/x.pcap"), "io"))
  end)
end)
