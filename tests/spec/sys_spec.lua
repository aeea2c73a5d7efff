-- sys: files written whole, locks, private directories.

local command = require "support.command"
local errors = require "moontap.errors"
local sys = require "moontap.native.sys"

local dir

before_each(function() dir = assert(sys.tempdir "moontap-spec-") end)
after_each(function() assert(sys.remove_tree(dir)) end)

local function fails(kind, text, value, err)
  assert.is_nil(value)
  assert.is_true(errors.is(err, kind))
  assert.matches(text, err.message, 1, true)
end

describe("directories", function()
  it("of tempdir are private", function()
    local stat = sys.stat(dir)
    assert.equal("directory", stat.type)
    assert.equal(tonumber("700", 8), stat.mode)
    assert.error_matches(function() sys.tempdir "a/b" end, "holds no slash")
  end)

  it("are made with what is missing above them", function()
    local path = dir .. "/a/b//c"
    assert.is_true(sys.mkdir_p(path, tonumber("700", 8)))
    assert.is_true(sys.mkdir_p(path .. "/"))
    assert.equal("directory", sys.stat(path).type)
    assert(sys.write_file(dir .. "/file", ""))
    fails("io", "make directory " .. dir .. "/file", sys.mkdir_p(dir .. "/file"))
    fails("io", "Not a directory", sys.mkdir_p(dir .. "/file/below"))
  end)

  it("list their names sorted", function()
    for _, name in ipairs { "b", "c", "a", ".hidden" } do
      assert(sys.write_file(dir .. "/" .. name, ""))
    end
    assert.same({ ".hidden", "a", "b", "c" }, sys.list(dir))
    fails("io", "list " .. dir .. "/none: No such file or directory", sys.list(dir .. "/none"))
  end)

  it("are removed with all in them, but links are not followed", function()
    local outside = assert(sys.tempdir "moontap-spec-")
    assert(sys.write_file(outside .. "/kept", "x"))
    assert(sys.mkdir_p(dir .. "/tree/deep"))
    assert(sys.write_file(dir .. "/tree/deep/file", "x"))
    os.execute(("ln -s %s %s/tree/link"):format(outside, dir))
    assert.is_true(sys.remove_tree(dir .. "/tree"))
    assert.is_nil((sys.stat(dir .. "/tree")))
    assert.equal("x", sys.read_file(outside .. "/kept"))
    assert.is_true(sys.remove_tree(dir .. "/tree"))
    assert(sys.remove_tree(outside))
    for _, path in ipairs { "/", "..", "../..", "." } do
      assert.error_matches(function() sys.remove_tree(path) end, "will not remove")
    end
  end)
end)

describe("files", function()
  it("are written whole and read back", function()
    local path, data = dir .. "/file", ("x\0\n"):rep(100000)
    assert.is_true(sys.write_file(path, "old"))
    assert.is_true(sys.write_file(path, data, tonumber("640", 8)))
    assert.equal(data, sys.read_file(path))
    local stat = sys.stat(path)
    assert.equal(#data, stat.size)
    assert.equal("file", stat.type)
    assert.equal(tonumber("640", 8), stat.mode)
    assert.near(os.time(), stat.mtime, 60)
    assert.same({ "file" }, sys.list(dir))
  end)

  it("are private unless said otherwise", function()
    assert(sys.write_file(dir .. "/file", "x"))
    assert.equal(tonumber("600", 8), sys.stat(dir .. "/file").mode)
  end)

  it("leave nothing behind when they cannot be written", function()
    assert(sys.mkdir_p(dir .. "/taken/below"))
    fails("io", "write " .. dir .. "/taken: ", sys.write_file(dir .. "/taken", "x"))
    assert.same({ "taken" }, sys.list(dir))
    fails("io", "No such file or directory", sys.write_file(dir .. "/none/file", "x"))
  end)

  it("are read up to a bound", function()
    assert(sys.write_file(dir .. "/file", ("x"):rep(1000)))
    assert.equal(1000, #sys.read_file(dir .. "/file", 1000))
    fails("limit", "longer than 999 bytes", sys.read_file(dir .. "/file", 999))
    fails("io", "read " .. dir .. "/none: No such file", sys.read_file(dir .. "/none"))
    fails("io", "Is a directory", sys.read_file(dir))
  end)

  it("are renamed and removed", function()
    assert(sys.write_file(dir .. "/a", "x"))
    assert.is_true(sys.rename(dir .. "/a", dir .. "/b"))
    fails("io", ("rename %s/a to %s/b: "):format(dir, dir), sys.rename(dir .. "/a", dir .. "/b"))
    assert.is_true(sys.remove(dir .. "/b"))
    fails("io", "remove " .. dir .. "/b: ", sys.remove(dir .. "/b"))
  end)

  it("are placed where nothing is, and nowhere else", function()
    assert(sys.write_file(dir .. "/a", "x"))
    assert(sys.write_file(dir .. "/taken", "old"))
    fails("io", "write " .. dir .. "/taken: File exists", sys.place(dir .. "/a", dir .. "/taken"))
    os.execute(("ln -s none %s/link"):format(dir))
    fails("io", "File exists", sys.place(dir .. "/a", dir .. "/link"))
    fails("io", "No such file", sys.place(dir .. "/none", dir .. "/b"))
    assert.is_true(sys.place(dir .. "/a", dir .. "/b"))
    assert.equal("x", sys.read_file(dir .. "/b"))
    assert.equal("old", sys.read_file(dir .. "/taken"))
    assert.same({ "b", "link", "taken" }, sys.list(dir))
  end)

  it("are looked at through links, or not", function()
    assert(sys.write_file(dir .. "/file", "x"))
    os.execute(("ln -s file %s/link"):format(dir))
    assert.equal("file", sys.stat(dir .. "/link").type)
    assert.equal("link", sys.lstat(dir .. "/link").type)
    assert.equal(sys.real_path(dir) .. "/file", sys.real_path(dir .. "/./link"))
    fails("io", "stat " .. dir .. "/none: No such file", sys.lstat(dir .. "/none"))
    fails("io", "find " .. dir .. "/none: No such file", sys.real_path(dir .. "/none"))
  end)

  it("are told from others of the same name", function()
    local path = dir .. "/file"
    assert(sys.write_file(path, "x"))
    local identity = sys.stat(path).identity
    os.execute(("ln -s file %s/link"):format(dir))
    assert.is_true(sys.is_same_file(path, identity))
    assert.is_true(sys.is_same_file(dir .. "/link", identity))
    assert(sys.write_file(dir .. "/other", "x"))
    assert.is_false(sys.is_same_file(dir .. "/other", identity))
    assert(sys.rename(dir .. "/other", path))
    assert.is_false(sys.is_same_file(path, identity))
    assert.is_true(sys.remove(path))
    assert.is_false(sys.is_same_file(path, identity))
  end)

  it("have names without NUL", function()
    assert.error_matches(function() sys.read_file("a\0b") end, "NUL")
    assert.error_matches(function() sys.read_file("") end, "empty path")
  end)
end)

describe("a lock", function()
  it("is held by one at a time", function()
    local path = dir .. "/lock"
    local first = assert(sys.lock(path))
    local second, why = sys.lock(path)
    assert.is_nil(second)
    assert.equal("locked", why)
    first:release()
    first:release()
    local third <close> = assert(sys.lock(path))
    assert.is_not_nil(third)
  end)

  it("goes with its handle", function()
    local path = dir .. "/lock"
    do
      local held <close> = assert(sys.lock(path))
      assert.is_not_nil(held)
    end
    assert(sys.lock(path)):release()
    local held = assert(sys.lock(path))
    assert.is_not_nil(held)
    held = nil -- luacheck: ignore
    collectgarbage()
    collectgarbage()
    assert(sys.lock(path)):release()
  end)

  it("is not inherited by programs that are started", function()
    local path = dir .. "/lock"
    local held = assert(sys.lock(path))
    os.execute("sleep 5 >/dev/null 2>&1 &")
    held:release()
    assert(sys.lock(path)):release()
  end)

  it("says why it cannot be taken", function()
    fails("io", "lock " .. dir .. "/none/lock: No such file", sys.lock(dir .. "/none/lock"))
  end)
end)

describe("the machine", function()
  local function output(line)
    local pipe <close> = assert(io.popen(line))
    return (pipe:read("a"):gsub("\n$", ""))
  end

  it("has a name, and runs somebody's process", function()
    assert.equal(output "uname -n", sys.host_name())
    local name = output "id -un 2>/dev/null"
    assert.equal(name ~= "" and name or "uid " .. output "id -u", sys.user())
  end)

  it("has an id for each start", function()
    local file <close> = assert(io.open("/proc/sys/kernel/random/boot_id"))
    assert.equal(file:read("l"), sys.boot_id())
  end)

  it("knows how much room is left", function()
    local free = assert(sys.free_space(dir))
    assert.equal("integer", math.type(free))
    local kilobytes = tonumber(output("df -Pk " .. dir .. " | awk 'NR == 2 { print $4 }'"))
    assert.near(kilobytes * 1024, free, free / 10 + (64 << 20))
    fails("io", ("ask for the free space of %s/none: No such file"):format(dir),
      sys.free_space(dir .. "/none"))
  end)
end)

describe("standard output", function()
  -- Runs Lua code in another moontap whose working directory is `dir`.
  local function run(code)
    local status, out, err = command.run({ command.moontap, "run", "-e",
      'local sys = require "moontap.native.sys"\n' .. code }, { cwd = dir })
    return out, err, status
  end

  it("can be led elsewhere for a while", function()
    local out, err, status = run [[
      print "before"
      local redirection = assert(sys.redirect(1, "file"))
      print "inside"
      os.execute "echo child"
      print(redirection)
      assert(redirection:restore())
      assert(redirection:restore())
      print(redirection)
      do
        local again <close> = assert(sys.redirect(1, "file"))
        print "once more"
      end
      local to_error <close> = assert(sys.redirect(1, 2))
      print "to standard error"]]
    assert.equal("before\nredirection of standard output (restored)\n", out)
    assert.equal("to standard error\n", err)
    assert.equal(0, status)
    assert.equal("inside\nchild\nredirection of standard output\nonce more\n",
      sys.read_file(dir .. "/file"))
    assert.equal(tonumber("600", 8), sys.stat(dir .. "/file").mode)
  end)

  it("comes back with the last redirection, in order", function()
    local out = run [[
      local first = assert(sys.redirect(1, "a"))
      local second = assert(sys.redirect(1, "b"))
      print "b"
      second:restore()
      print "a"
      first = nil
      collectgarbage()
      collectgarbage()
      print "out"]]
    assert.equal("out\n", out)
    assert.equal("a\n", sys.read_file(dir .. "/a"))
    assert.equal("b\n", sys.read_file(dir .. "/b"))
  end)

  it("and standard error leave no descriptor open", function()
    local out, err = run [[
      local function count() return #sys.list "/proc/self/fd" end
      local before = count()
      for _ = 1, 20 do
        assert(sys.redirect(2, "errors")):restore()
        assert(not sys.redirect(1, "none/file"))
        assert(not sys.redirect(2, 999))
        assert(sys.redirect(1, "/dev/null")):restore()
      end
      local redirection = assert(sys.redirect(2, "errors"))
      io.stderr:write "an error\n"
      redirection:restore()
      print(count() - before)]]
    assert.equal("0\n", out)
    assert.equal("", err)
    assert.equal("an error\n", sys.read_file(dir .. "/errors"))
  end)

  it("says what got lost", function()
    local out = run [[
      local redirection = assert(sys.redirect(1, "/dev/full"))
      io.write "lost"
      local ok, err = redirection:restore()
      print(ok, err.kind, err.message)]]
    assert.matches("nil\tio\twrite standard output: No space left on device\n$", out)
  end)

  it("is all that can be led elsewhere", function()
    for _, fd in ipairs { 0, 3, -1 } do
      assert.error_matches(function() sys.redirect(fd, "x") end, "expected 1 or 2")
    end
    assert.error_matches(function() sys.redirect(1, -1) end, "no descriptor")
    assert.error_matches(function() sys.redirect(1) end, "string expected")
    fails("io", "redirect standard output to descriptor 999: Bad file", sys.redirect(1, 999))
    fails("io", ("redirect standard error to %s/none/x: No such file"):format(dir),
      sys.redirect(2, dir .. "/none/x"))
  end)
end)

describe("the rest", function()
  it("writes to a descriptor, and says when it cannot", function()
    fails("io", "write to descriptor 999: ", sys.write(999, "x"))
    assert.is_true(sys.write(2, ""))
    assert.error_matches(function() sys.write(-1, "x") end, "no descriptor")
  end)

  it("knows what is no terminal", function()
    assert.is_false(sys.isatty(999))
    assert.is_true(sys.is_hung_up(999))
    assert.is_nil(sys.terminal_size(999))
  end)

  it("knows its process", function()
    local file <close> = assert(io.open("/proc/self/stat"))
    assert.equal(file:read("n"), sys.getpid())
  end)
end)
