-- Loading many playbooks: what is evaluated many at a time gives the same as what is evaluated one
-- by one, whatever a file does, and what did not change is not evaluated again.

local batches = require "moontap.child.batches"
local command = require "support.command"
local files = require "moontap.cron.files"
local loader = require "moontap.child.loader"
local lfs = require "lfs"
local pty = require "support.pty"
local tempdir = require "support.tempdir"

local dir

before_each(function() dir = tempdir.new() end)
after_each(function() tempdir.remove(dir) end)

local function write(name, text)
  local f <close> = assert(io.open(dir .. "/" .. name, "w"))
  f:write(text)
end

local LIBS <const> = {
  lib = "return { seven = 7, name = ... }", ["lib.nested"] = "return { lib = require 'lib' }",
  ["lib.broken"] = "return {", ["lib.raises"] = "error 'no'", ["lib.leaves"] = "leak = 2",
  ["lib.waits"] = "moontap.sleep(0) return 5",
}

local function source(name)
  return LIBS[name], LIBS[name] and name:gsub("%.", "/") .. ".lua"
end

-- In a form that assert.same can compare: no NaN.
local function comparable(value)
  if value ~= value then return "NaN" end
  if type(value) ~= "table" or value == loader.FUNCTION then return value end
  local copy = {}
  for key, item in pairs(value) do copy[key] = comparable(item) end
  return copy
end

local function plain(result)
  if result.data then return { data = comparable(result.data) } end
  return { kind = result.err.kind, message = result.err.message:gsub("0x%x+", "ADDRESS"),
           problems = result.err.problems }
end

local function compare(texts, limits)
  local sources = {}
  for i, text in ipairs(texts) do sources[("f%03d.lua"):format(i)] = text end
  local options = { files = sources, source = source, limits = limits }
  local together = assert(loader.load(options))
  options.one_by_one = true
  local alone = assert(loader.load(options))
  for name, text in pairs(sources) do
    assert.same(plain(alone[name]), plain(together[name]), text)
  end
  return together
end

local function nested(depth)
  return "return " .. ("{ "):rep(depth) .. "1" .. (" }"):rep(depth)
end

describe("many files at once", function()
  it("return what they return one by one", function()
    local got = compare {
      "return { 1, 2.5, 1.0, -0.0, 1e300, 2^53, math.mininteger, math.maxinteger, 0.1 }",
      "return { 1/0, -1/0, 0/0, [1/0] = 1, [2.5] = 2, [-3] = 3, [true] = 4, [false] = 5 }",
      "return { run = function() end, f = print, g = {}, h = { { {} } }, [''] = '' }",
      "return { s = 'a\\0b\\127\\n\\\"\\\\/', u = 'äö\\u{10FFFF}\\u{1F600}' }",
      "return { n = ('x'):rep(70000) }", "return { n = ('x'):rep(300000) }",
      "return { '\\xff' }", "return { ['\\xff'] = 1 }", "return { '\\u{D800}', '\\u{110000}' }",
      nested(14), nested(15), nested(16), nested(17),
      "local t = {} t.t = t return t", "local t = {} return { t, t }", "return {}", "return", "",
      "return nil", "return 7", "return 'text'", "return function() end", "return {", "error 'no'",
      "error { 1 }", "error()", "return { coroutine.create(print) }",
      "local t = {} for i = 1, 9000 do t[i] = i end return t",
      "local t = {} for i = 1, 10001 do t[i] = i end return t",
      "return setmetatable({ a = 1 }, { __index = { b = 2 }, __pairs = error, __len = error })",
      "return undefined", "return { rawget(_G, 'undefined') }", "return { G = _G._G == _G }",
      "x = 1 return { x, _G.x, _ENV.x }", "return { ... }", "return { select('#', ...) }",
      "return { load 'return 1 + 1'(), load('return x', 'c', 't', { x = 5 })() }",
      "return { load('\\27Lua') == nil }", "return { io == nil }", "return { rawget(_G, 'io') }",
      "return { pcall(function() return os.getenv end) }", "return { type(io.open) }",
      "return { pcall(function() return io.popen end) }",
      "return { pcall(io.open, '/etc/passwd') }",
      "return { pcall(function() return package end) }", "return { type(require 'moontap.http') }",
      "return { pcall(require, 'moontap.log') }", "return { require 'io' == io }",
      "return { rawget(_G, 'package'), rawget(_G, 'dofile'), string.dump, debug.getinfo }",
      "return { type(os.getenv), type(os.date), type(os.time), type(os.clock), os.difftime(3, 1) }",
      "return { math.random(1000), math.random(1000), math.random() }",
      "math.randomseed(7) return { math.random(1000) }",
      "local n = 0 for k in pairs(_G) do n = n + 1 end return { n > 20, type(_VERSION) }",
      "return { pcall(error, 'x') }", "return { pcall(error, { 1 }) }",
      "return { select(-1, 1, 2) }",
      "return { tostring(nil), tostring(1.5), tonumber '0x10', ('%5.1f'):format(2.25) }",
      "return { xpcall(function() error 'x' end, function(m) return m .. '!' end) }",
      "return { type(moontap), type(pcaps), type(coroutine), type(debug) }",
      "return { type(moontap.spawn), type(pcaps.create), type(moontap.version) }",
      "return { rawget(moontap, 'x'), next(moontap) ~= nil, rawlen(moontap) }",
      "return { moontap = moontap }", "return { pcaps }", "return { require 'moontap.duration' }",
      "return { getmetatable(moontap) == nil, getmetatable('').__index == string }",
      "return { pcall(function() return moontap.nothing end) }", "pcall(print) return { 1 }",
      "moontap.x = 1 return { moontap.x }", "return { moontap == pcaps, moontap == moontap }",
      "for k in pairs(pcaps) do return { type(k) } end",
      "local task = require 'moontap.task' return { run = function() return task.all {} end }",
      "return { pcaps == require 'pcaps', require 'string' == string, require 'os' == os }",
      "return { coroutine.wrap(function() return 3 end)(), coroutine.isyieldable() }",
      "coroutine.yield() return { 1 }", "return { type(coroutine.running()) }",
      "moontap.sleep(0) return { 1 }", "return { type(os.time()), type(os.date()) }",
      "return { os.time { year = 2026, month = 1, day = 1, hour = 12 } > 0 }",
      "return { collectgarbage 'count' > 0 }", "return { debug.traceback 'x' ~= nil }",
      "setmetatable({}, { __gc = function() error 'no' end }) return { 1 }",
      "return { #('x'):rep(20 << 20) }", "return { pcall(string.rep, 'x', 20 << 20) }[1]",
      "local function f() return f() + 1 end return { (pcall(f)) }",
      "return { require 'lib', require 'lib.nested' }", "return { require 'lib' == require 'lib' }",
      "return { require 'lib.missing' }", "return { (pcall(require, 'lib.missing')) }",
      "return { require 'lib.broken' }", "return { require 'lib.raises' }", "return { require(1) }",
      "require 'lib.leaves' return { leak }", "return { require 'lib.waits' }",
      "return { require '../lib' }", "return { require '' }", "return { require 'a..b' }",
      "return { (pcall(require, ('x'):rep(300))) }", "return { require 'moontap.child.quick' }",
      "return { require 'moontap.native.evaluator' }", "return { require 'moontap.capture' }",
      "string.rep, math.pi, table.insert = nil return { 1 }", "leak = 1 string.leak = 1 return {}",
      "setmetatable(_G, nil) return { 1 }",
      "next, pairs, type, rawget = nil return { 1 }", "_G._G, _ENV.load = nil return { 1 }",
    }
    assert.equals(0.1, got["f001.lua"].data[9])
  end)

  it("see nothing of each other", function()
    local texts = {}
    for i = 1, 100 do
      texts[i] = [[
        local seen = { string.leak, rawget(_G, "leak"), math.pi > 4, ("").leak, require("lib").leak,
                       math.random(1 << 40) }
        string.leak, leak, math.pi, require("lib").leak = 1, 1, 5, 1
        getmetatable("").leak = 1
        return { seen = seen, n = 1 }]]
    end
    local got = compare(texts)
    for i = 2, 100 do assert.same(got["f001.lua"].data, got[("f%03d.lua"):format(i)].data) end
  end)

  it("are not blamed for what another one leaves behind", function()
    for _, one_by_one in ipairs { false, true } do
      local got = assert(loader.load { one_by_one = one_by_one, limits = { timeout = 1 }, files = {
        ["1.lua"] = "setmetatable({}, { __gc = function() while true do end end }) return { 1 }",
        ["2.lua"] = "return { 2 }", ["3.lua"] = "moontap.sleep(0) return { 3 }",
      } })
      for i = 2, 3 do assert.same({ i }, got[i .. ".lua"].data) end
      local first = got["1.lua"]
      assert.equals(one_by_one and "timeout" or nil, first.err and first.err.kind)
    end
  end)

  it("are left over when one of them takes the process along", function()
    local texts = {}
    for i = 1, 150 do texts[i] = ("return { i = %d }"):format(i) end
    texts[70] = "while true do end"
    texts[75] = "local t = {} for i = 1, math.huge do t[i] = ('x'):rep(1000) .. i end"
    texts[140] = "setmetatable({}, { __gc = function() while true do end end }) return { i = 140 }"
    local sources = {}
    for i, text in ipairs(texts) do sources[i .. ".lua"] = text end
    local got = assert(loader.load { files = sources, limits = { timeout = 1, memory = 8 << 20 } })
    assert.equals("timeout", got["70.lua"].err.kind)
    assert.equals("memory", got["75.lua"].err.kind)
    for i = 1, 150 do
      if i ~= 70 and i ~= 75 then assert.equals(i, got[i .. ".lua"].data.i, i) end
    end
  end)
end)

local function playbook(extra)
  return 'return { api = 1, on = { cron = "0 3 * * *" }, ' .. (extra or "") .. " run = print }"
end

describe("the process that evaluates many files", function()
  it("is of no use any more when it answers with nothing", function()
    for _, answer in ipairs { '{"loaded":[]}', '{"loaded":{}}', '{"loaded":[{"t":[]}]}' } do
      local got = {}
      local work = batches.new {
        names = { "a" }, timeout = 60, text = function() return "return {}" end,
        tree = function() return "" end, read = function() return {} end,
        on_data = function(name) got[#got + 1] = name end,
      }
      local answers, killed = { answer, '{"loaded":[{"t":[]}]}' }, 0
      local is_done = work:go { child = {
        send = function() return true end, kill = function() killed = killed + 1 end,
        receive = function() return table.remove(answers, 1) end,
      } }
      local is_good = answer:find("t", 1, true) ~= nil
      assert.same({ is_good, is_good and { "a" } or {}, is_good and {} or { "a" }, 0 },
        { is_done, got, work.left, killed })
    end
  end)
end)

describe("a tree of playbooks", function()
  local function load(before)
    local list = assert(files.load({ dir .. "/a", dir .. "/b" }, before))
    local by_name = {}
    for _, one in ipairs(list) do
      assert.same({}, one.problems)
      by_name[one.name] = one.playbook
    end
    return list, by_name
  end

  before_each(function()
    for _, name in ipairs { "a", "b" } do
      assert(lfs.mkdir(dir .. "/" .. name))
      assert(lfs.mkdir(dir .. "/" .. name .. "/lib"))
      write(name .. "/lib/limits.lua", ("return { timeout = %q }"):format(
        name == "a" and "1m" or "2m"))
    end
  end)

  it("requires from its own directory, although others have a file of that name", function()
    for i = 1, 5 do
      for _, name in ipairs { "a", "b" } do
        write(("%s/%s%d.lua"):format(name, name, i),
          playbook "timeout = require 'lib.limits'.timeout,")
      end
    end
    write("a/aa.lua", playbook "timeout = (moontap.version and require 'lib.limits').timeout,")
    write("b/bb.lua", playbook "timeout = (moontap.version and require 'lib.limits').timeout,")
    local _, got = load()
    for name, one in pairs(got) do
      assert.equals(name:find "^a" and 60 or 120, one.timeout, name)
    end
  end)

  it("is loaded again only where it has changed", function()
    write("a/same.lua", playbook())
    write("a/changed.lua", playbook())
    write("a/uses.lua", playbook "timeout = require 'lib.limits'.timeout,")
    write("b/uses_b.lua", playbook "timeout = require 'lib.limits'.timeout,")
    write("a/clock.lua", playbook "timeout = 60 + os.time() % 1,")
    local list, old = load()
    write("a/changed.lua", playbook "timeout = 5,")
    write("a/lib/limits.lua", "return { timeout = '3m' }")
    write("a/new.lua", playbook())
    local again, new = load(list)
    assert.equals(old.same, new.same)
    assert.equals(old.uses_b, new.uses_b)
    assert.equals(5, new.changed.timeout)
    assert.equals(180, new.uses.timeout)
    assert.is_table(new.new)
    assert.not_equals(old.clock, new.clock)
    assert(os.remove(dir .. "/a/lib/limits.lua"))
    local last = assert(files.load({ dir .. "/a", dir .. "/b" }, again))
    for _, one in ipairs(last) do
      assert.equals(one.name ~= "uses", #one.problems == 0, one.name)
    end
  end)

  it("says on a terminal how far it is when that takes long", function()
    for i = 1, 60 do
      write(("a/slow%02d.lua"):format(i), "moontap.sleep(0.2) " .. playbook())
    end
    local terminal = pty.start({ command.moontap, "check", dir .. "/a" }, { cwd = dir })
    local done = math.tointeger(tonumber((terminal.expect "loading playbooks: (%d+) of 60 files")))
    assert.is_true(done > 0 and done < 60)
    terminal.signal "INT"
    terminal.abandon()
  end)

  it("names a file that cannot be read, and loads the others", function()
    write("a/good.lua", playbook())
    assert(lfs.link("nowhere", dir .. "/a/gone.lua", true))
    write("a/long.lua", "--" .. ("x"):rep(1 << 20))
    local list = assert(files.load { dir .. "/a" })
    local count = 0
    for _, one in ipairs(list) do
      if one.playbook then count = count + 1 else assert.equals(1, #one.problems) end
    end
    assert.equals(1, count)
  end)
end)
