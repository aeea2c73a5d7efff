-- README.md says what is so: its scripts run, its commands and options exist, its tables agree with
-- the program.

local command = require "support.command"
local commands = require "moontap.cmd.command"
local tempdir = require "support.tempdir"

local text = assert(command.read_file(command.source .. "/README.md"))

-- The fences of a language, with the line each starts at.
local function fences(language)
  local found, line, current = {}, 0, nil
  for row in (text .. "\n"):gmatch "(.-)\n" do
    line = line + 1
    if current and row == "```" then
      found[#found + 1] = { line = current.line, code = table.concat(current, "\n") }
      current = nil
    elseif current then
      current[#current + 1] = row
    elseif row == "```" .. language then
      current = { line = line + 1 }
    end
  end
  return found
end

local scripts = fences "lua"

local function run(code)
  return tempdir.with(function(dir)
    return command.run({ command.moontap, "run", "--sim", "--virtual-time", "-e", code },
      { cwd = dir })
  end)
end

describe("the README", function()
  it("has scripts", function()
    assert.is_true(#scripts >= 4)
  end)

  for _, script in ipairs(scripts) do
    it(("runs what stands at line %d"):format(script.line), function()
      local status, out, err = run(script.code)
      assert.equal(0, status, err)
      assert.equal("", err)
      assert.is_true(#out > 0)
    end)
  end

  it("shows the script that ships as the first one", function()
    local file = assert(command.read_file(command.source .. "/scripts/first-capture.lua"))
    local code = file:match "^.-\n(local .*)$" -- behind its opening comment
    assert.equal(code, scripts[1].code .. "\n")
  end)

  it("has the example of the API's own page in five lines", function()
    local code = scripts[2].code
    assert.equal(5, select(2, code:gsub("[^\n]+", "")))
    local status, out, err = run([[
      local _ = pcaps.create -- its effect is there now
      require "moontap.effects".wrap("pcaps.create", function(next, client, params, ...)
        local cap, problem = next(client, params, ...)
        print(params.packet_limit, params.system, params.time_limit, params.type, cap.status)
        return cap, problem
      end)
      ]] .. code)
    assert.equal(0, status, err)
    assert.matches("^10000\tmagic%-transit\t300\tsimple\tpending\n%x+\n$", out)
  end)

  it("names commands and options that exist", function()
    local checked = 0
    for line in text:gmatch "[^\n]*moontap [^\n]*" do
      for word, rest in line:gmatch "moontap (%l+)([^`|]*)" do
        if commands.exists(word) then
          local help = commands.help_of(word)
          for option in rest:gmatch "%f[%S](%-%-?%l[%l-]*)" do
            assert.matches(option, help, 1, true)
            checked = checked + 1
          end
        end
      end
    end
    assert.is_true(checked >= 8)
    for option in text:gmatch "`(%-%-[%l-]+)" do
      local is_known = false
      for _, entry in ipairs(commands.list()) do
        is_known = is_known or commands.help_of(entry.name):find(option, 1, true) ~= nil
      end
      assert.is_true(is_known, option)
    end
  end)

  it("lists each command", function()
    for _, entry in ipairs(commands.list()) do
      assert.matches("`moontap " .. entry.name, text, 1, true)
    end
  end)

  it("explains the exit statuses of moontap help", function()
    local help = select(2, command.run { command.moontap, "help" })
    for status in text:gmatch "\n| (%d) |" do
      assert.matches("[ \n]" .. status .. " %l", help:match "Exit status:(.*)")
    end
  end)
end)
