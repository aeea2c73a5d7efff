-- Tasks: waiting, joining, failing, cancelling; and coroutines that wait.

local host = require "moontap.native.host"

local function sleeper(seconds, ...)
  local values = table.pack(...)
  return function()
    moontap.sleep(seconds)
    return table.unpack(values, 1, values.n)
  end
end

describe("spawn and join", function()
  it("gives back every result, trailing nils included", function()
    local task = moontap.spawn(function(...) return select("#", ...), nil, ... end, 1, nil, nil)
    local results = table.pack(task:join())
    assert.equal(5, results.n)
    assert.equal(3, results[1])
    assert.equal("done", task:status())
    assert.equal(3, (task:join()))
  end)

  it("raises what the task raised, the value itself", function()
    local problem = setmetatable({}, { __tostring = function() return "problem" end })
    local task = moontap.spawn(function() moontap.sleep(0) error(problem) end)
    local ok, err = pcall(task.join, task)
    assert.is_false(ok)
    assert.equal(problem, err)
    assert.equal("failed", task:status())
  end)

  it("refuses to join itself or a task it belongs to", function()
    local me = moontap.current()
    assert.has_error(function() me:join() end,
      "calling 'join' on bad self (a task cannot join itself or a task it belongs to)")
    local child = moontap.spawn(function() return pcall(me.join, me) end)
    assert.is_false((child:join()))
  end)

  it("refuses options it does not know", function()
    assert.error_matches(function() moontap.spawn({ nme = "x" }, print) end,
      "unknown option \"nme\"")
    assert.error_matches(function() moontap.spawn({ timeout = "soon" }, print) end, "duration")
    assert.error_matches(function() moontap.spawn(42) end, "function expected")
  end)

  it("fails the parent when nobody joins a child that fails", function()
    local outer = moontap.spawn(function()
      moontap.spawn(function() moontap.sleep(0.01) error("lost child", 0) end)
      moontap.sleep(30)
    end)
    local ok, err = pcall(outer.join, outer)
    assert.is_false(ok)
    assert.equal("lost child", err)
  end)

  it("fails the parent when a child meets its own deadline and nobody joins it", function()
    local outer = moontap.spawn(function()
      moontap.spawn({ timeout = "10ms" }, sleeper(30))
      moontap.sleep(30)
    end)
    local ok, err = pcall(outer.join, outer)
    assert.is_false(ok)
    assert.equal("timeout", err.kind)
  end)

  it("waits for children that nobody joined", function()
    local ended = false
    moontap.spawn(function()
      moontap.spawn(function() moontap.sleep(0.02) ended = true end)
    end):join()
    assert.is_true(ended)
  end)

  it("cancels the other children when a task fails", function()
    local child
    local outer = moontap.spawn(function()
      child = moontap.spawn(sleeper(30))
      error("stop", 0)
    end)
    pcall(outer.join, outer)
    assert.equal("cancelled", child:status())
  end)
end)

describe("cancel", function()
  it("ends a wait with an error of kind cancelled", function()
    local seen
    local task = moontap.spawn(function()
      local ok, err = pcall(moontap.sleep, 30)
      seen = { ok = ok, kind = err.kind, text = tostring(err) }
      moontap.sleep(30)
    end)
    moontap.sleep(0.01)
    task:cancel("enough")
    local result, err = task:join()
    assert.is_nil(result)
    assert.equal("cancelled", err.kind)
    assert.same({ ok = false, kind = "cancelled", text = "enough" }, seen)
    assert.equal("cancelled", task:status())
  end)

  it("is level-triggered: a pcall loop cannot swallow it", function()
    local tries = 0
    local task = moontap.spawn(function()
      while true do
        tries = tries + 1
        pcall(moontap.sleep, 30)
      end
    end)
    moontap.sleep(0.01)
    task:cancel()
    local _, err = task:join()
    assert.equal("cancelled", err.kind)
    assert.is_true(tries > 1)
  end)

  it("reaches grandchildren, and tasks that have not started", function()
    local inner, late
    local outer = moontap.spawn(function()
      inner = moontap.spawn(sleeper(30))
      moontap.sleep(30)
    end)
    moontap.sleep(0.01)
    late = moontap.spawn(function() error("must not run") end)
    late:cancel()
    outer:cancel()
    outer:join()
    late:join()
    assert.equal("cancelled", inner:status())
    assert.equal("cancelled", late:status())
  end)

  it("leaves a task that ends all the same with its results", function()
    local task = moontap.spawn(function() pcall(moontap.sleep, 30) return "tidy" end)
    moontap.sleep(0.01)
    task:cancel()
    assert.equal("tidy", task:join())
  end)

  it("does not hide what else goes wrong meanwhile", function()
    local task = moontap.spawn(function()
      pcall(moontap.sleep, 30)
      error("the disk is full", 0)
    end)
    moontap.sleep(0.01)
    task:cancel()
    assert.has_error(function() task:join() end, "the disk is full")
  end)

  it("closes variables of the task it ends", function()
    local closed = false
    local task = moontap.spawn(function()
      local _ <close> = setmetatable({}, { __close = function() closed = true end })
      moontap.sleep(30)
    end)
    moontap.sleep(0.01)
    task:cancel()
    task:join()
    assert.is_true(closed)
  end)
end)

describe("timeout", function()
  it("returns nil and a timeout when time is up", function()
    local result, err = moontap.timeout("20ms", sleeper(30))
    assert.is_nil(result)
    assert.equal("timeout", err.kind)
    assert.equal("deadline of 20ms passed", tostring(err))
  end)

  it("nests: the outer deadline ends the inner one's work", function()
    local inner_err
    local _, err = moontap.timeout("20ms", function()
      local _
      _, inner_err = moontap.timeout("30s", sleeper(60))
      moontap.sleep(60)
    end)
    assert.equal("timeout", err.kind)
    assert.is_nil(inner_err)
  end)

  it("passes arguments, results and errors through", function()
    assert.same({ 1, 2 }, { moontap.timeout(1, function(...) return ... end, 1, 2) })
    assert.has_error(function() moontap.timeout(1, error, "boom") end, "boom")
    assert.error_matches(function() moontap.timeout("soon", print) end, "duration")
  end)
end)

describe("all and race", function()
  it("runs at the same time and keeps places", function()
    assert.same({ "a", "b", "c" }, moontap.all { sleeper(0.03, "a"), sleeper(0.01, "b"),
      sleeper(0.02, "c") })
    assert.same({}, moontap.all {})
  end)

  it("hands on the first nil, err and cancels the others", function()
    local other
    local result, err, index = moontap.all {
      function() other = moontap.current() moontap.sleep(30) end,
      function() moontap.sleep(0.01) return nil, "no" end,
    }
    assert.is_nil(result)
    assert.equal("no", err)
    assert.equal(2, index)
    assert.equal("cancelled", other:status())
  end)

  it("raises what one of them raises", function()
    assert.has_error(function()
      moontap.all { sleeper(30), function() moontap.sleep(0.01) error("broken", 0) end }
    end, "broken")
  end)

  it("race gives the results of the first", function()
    assert.same({ "fast", 2 }, { moontap.race { sleeper(30, "slow"), sleeper(0.01, "fast", 2) } })
    assert.has_error(function() moontap.race {} end,
      "bad argument #1 to 'race' (the list is empty)")
  end)
end)

describe("a coroutine that waits", function()
  it("does not land in its resume", function()
    local co = coroutine.create(function(a)
      moontap.sleep(0.01)
      local b = coroutine.yield(a + 1)
      moontap.sleep(0.01)
      return b * 2
    end)
    assert.same({ true, 2 }, { coroutine.resume(co, 1) })
    assert.equal("suspended", coroutine.status(co))
    assert.same({ true, 10 }, { coroutine.resume(co, 5) })
    assert.equal("dead", coroutine.status(co))
  end)

  it("works through several levels and wrap", function()
    local function level(n)
      if n == 0 then moontap.sleep(0.01) return "bottom" end
      return coroutine.wrap(level)(n - 1)
    end
    assert.equal("bottom", level(20))
  end)

  it("is normal while it waits, and refuses a resume by others", function()
    local co = coroutine.create(function() moontap.sleep(0.05) return "value" end)
    local owner = moontap.spawn(function() return coroutine.resume(co) end)
    moontap.sleep(0.01)
    assert.equal("normal", coroutine.status(co))
    assert.same({ false, "cannot resume non-suspended coroutine" }, { coroutine.resume(co) })
    assert.same({ true, "value" }, { owner:join() })
  end)

  it("has its wait cancelled by close", function()
    local closed = false
    local co = coroutine.create(function()
      local _ <close> = setmetatable({}, { __close = function() closed = true end })
      moontap.sleep(30)
    end)
    local owner = moontap.spawn(function() return coroutine.resume(co) end)
    moontap.sleep(0.01)
    assert.is_true(coroutine.close(co))
    assert.is_true(closed)
    assert.same({ false, "the coroutine was closed while it waited" }, { owner:join() })
  end)

  it("passes a cancellation into the coroutine", function()
    local kind
    local task = moontap.spawn(function()
      coroutine.wrap(function()
        local _, err = pcall(moontap.sleep, 30)
        kind = err.kind
        error(err)
      end)()
    end)
    moontap.sleep(0.01)
    task:cancel()
    task:join()
    assert.equal("cancelled", kind)
  end)

  it("cannot be yielded from a task's own function", function()
    assert.has_error(function() coroutine.yield(1) end, "attempt to yield from outside a coroutine")
  end)
end)

describe("a coroutine that is not the script's to touch", function()
  it("is the one another task runs in", function()
    local base
    local task = moontap.spawn(function()
      base = coroutine.running()
      moontap.sleep(0.02)
      return "own"
    end)
    moontap.sleep(0.01)
    assert.equal("normal", coroutine.status(base))
    assert.same({ false, "cannot resume non-suspended coroutine" }, { coroutine.resume(base) })
    assert.has_error(function() coroutine.close(base) end, "cannot close a normal coroutine")
    assert.equal("own", task:join())
    assert.is_false((coroutine.resume(base)))
  end)

  it("is one that was lost with the coroutine around it", function()
    local inner, after
    local outer = coroutine.create(function()
      inner = coroutine.create(function() moontap.sleep(30) end)
      coroutine.resume(inner)
    end)
    local task = moontap.spawn(function()
      coroutine.resume(outer)
      moontap.sleep(0.05)
      after = "slept"
    end)
    moontap.sleep(0.01)
    assert.is_true(coroutine.close(outer))
    moontap.sleep(0.01)
    assert.equal("dead", coroutine.status(inner))
    assert.same({ false, "cannot resume dead coroutine" }, { coroutine.resume(inner) })
    assert.is_true(coroutine.close(inner))
    assert.is_nil(after)
    task:join()
    assert.equal("slept", after)
  end)
end)

describe("a deep tree of tasks", function()
  -- a collection of a tree goes through all of it, and there is no end of collections
  local DEPTH <const> = os.getenv "MOONTAP_GC_STRESS" and 2000 or 100000

  it("ends", function()
    local ended = 0
    local function level(n)
      if n > 0 then moontap.spawn(level, n - 1) end
      ended = ended + 1
    end
    moontap.spawn(level, DEPTH):join()
    assert.equal(DEPTH + 1, ended)
  end)

  it("is cancelled", function()
    local deepest
    local function level(n)
      if n > 0 then moontap.spawn(level, n - 1) else deepest = moontap.current() end
      moontap.sleep(60)
    end
    local top = moontap.spawn(level, DEPTH)
    repeat moontap.sleep(0) until deepest
    top:cancel()
    top:join()
    assert.equal("cancelled", deepest:status())
  end)
end)

describe("a wait where none can be", function()
  local function message(fn, ...)
    local ok, err = pcall(fn, ...)
    assert.is_false(ok)
    return err
  end

  it("says it was a comparator, also from a nested coroutine", function()
    assert.matches("cannot wait inside a table.sort comparator",
      message(table.sort, { 3, 2, 1 }, function() moontap.sleep(0) end))
    assert.matches("cannot wait inside a table.sort comparator", message(function()
      table.sort({ 3, 2, 1 }, function()
        coroutine.wrap(function() moontap.sleep(0) end)()
      end)
    end))
  end)

  it("says it was a gsub callback", function()
    assert.matches("cannot wait inside a string.gsub callback",
      message(string.gsub, "abc", ".", function() moontap.sleep(0) end))
  end)

  it("says it was a __tostring metamethod", function()
    local value = setmetatable({}, { __tostring = function() moontap.sleep(0) return "" end })
    assert.matches("cannot wait inside a __tostring", message(tostring, value))
  end)

  it("says it was the top of a required file", function()
    package.preload["spec.waits"] = function() moontap.sleep(0) end
    local err = message(require, "spec.waits")
    package.preload["spec.waits"] = nil
    assert.matches("cannot wait at the top of a file that is being required", err)
  end)
end)

describe("sleep", function()
  it("takes seconds and durations, and refuses the rest", function()
    moontap.sleep(0)
    moontap.sleep("1ms")
    for _, bad in ipairs { -1, 0 / 0, "soon", "5 parsecs", "", 1e300 } do
      assert.is_false((pcall(moontap.sleep, bad)), tostring(bad))
    end
    assert.is_false((pcall(moontap.sleep)))
    assert.is_false((pcall(moontap.sleep, {})))
  end)
end)

describe("the list of tasks", function()
  it("names each task and where it waits", function()
    local task = moontap.spawn({ name = "watcher" }, function()
      coroutine.wrap(function() moontap.sleep(30) end)()
    end)
    moontap.sleep(0.01)
    assert.matches("%(watcher%): waiting at .-task_spec.lua:%d+", host.tasks())
    assert.matches("%(watcher%): waiting at", tostring(task))
    task:cancel()
    task:join()
  end)
end)

describe("running out of memory", function()
  -- Each n lets the n-th allocation fail. What is swept must end in success or in "not enough
  -- memory"; the sweep ends when an operation no longer reaches its n-th allocation.
  local function sweep(operation)
    local n = 0
    repeat
      n = n + 1
      assert.is_true(n < 5000, "the sweep does not end")
      collectgarbage() collectgarbage("stop")
      host.fail_alloc(n)
      local ok, err = pcall(operation)
      local hit = host.alloc_failed()
      host.fail_alloc(0)
      collectgarbage("restart")
      if not ok then assert.matches("not enough memory", tostring(err)) end
    until not hit
    return n
  end

  it("is survived by every function on tasks", function()
    assert.is_true(sweep(function() moontap.spawn(sleeper(0)):join() end) > 3)
    sweep(function() moontap.timeout("1h", function() moontap.sleep(0) end) end)
    sweep(function() moontap.all { sleeper(0), sleeper(0) } end)
    sweep(function() moontap.race { sleeper(0), sleeper(0) } end)
    sweep(function() coroutine.wrap(function() moontap.sleep(0) end)() end)
    sweep(function()
      local task = moontap.spawn(sleeper(30))
      moontap.sleep(0)
      task:cancel("why")
      task:join()
    end)
    sweep(function() return host.tasks() end)
  end)
end)
