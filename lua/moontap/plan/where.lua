-- where: which lines of a script led to a call, and what stands on them.

local sys = require "moontap.native.sys"

local M = {}

local TEXT_MAX <const> = 1 << 22
local CHAIN_MAX <const> = 50

---@class moontap.plan.Place
---@field file string
---@field line integer
---@field name? string of the function
---@field source? string what stands on the line

local override = os.getenv "MOONTAP_LUA"

-- Is it code of the program itself?
local function is_ours(source)
  if source:find "^@lua/moontap/" or source:find "^@lua/pcaps/" then return true end
  return override ~= nil and override ~= "" and source:sub(2, #override + 1) == override
end

---The lines of scripts that are being run by this coroutine, the innermost first.
---@param level? integer where to begin
---@return moontap.plan.Place[]
function M.chain(level)
  local list = {}
  level = level or 2
  while #list < CHAIN_MAX do
    local info = debug.getinfo(level, "Sln")
    if not info then break end
    if info.currentline > 0 and not is_ours(info.source) then
      list[#list + 1] = { file = info.source:gsub("^[@=]", ""), line = info.currentline,
                          name = info.what ~= "main" and info.name or nil }
    end
    level = level + 1
  end
  return list
end

---@class moontap.plan.Sources
---@field texts table<string, string|false> file -> text
local Sources = {}
Sources.__index = Sources

---What stands on a line, as it is; nil when that cannot be read.
---@param place moontap.plan.Place
---@return string|nil
function Sources:line(place)
  local lines = self.lines[place.file]
  if not lines then
    local text = self.texts[place.file] or sys.read_file(place.file, TEXT_MAX) or ""
    lines = {}
    for line in (text .. "\n"):gmatch "(.-)\r?\n" do lines[#lines + 1] = line end
    self.lines[place.file] = lines
  end
  local line = lines[place.line]
  line = line and line:match "^%s*(.-)%s*$"
  return line and line ~= "" and line or nil
end

---@param texts table<string, string> what was not read from a file: name -> text
---@return moontap.plan.Sources
function M.sources(texts)
  return setmetatable({ texts = texts, lines = {} }, Sources)
end

return M
