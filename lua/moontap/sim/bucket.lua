-- bucket: the directory that stands in for all buckets. What the API would put
-- into the bucket `s3://NAME/DIR` lies below DIRECTORY/s3/NAME/DIR.

local sys = require "moontap.native.sys"

local M = {}

local DIRECTORY_MODE <const> = 448  -- 0700
local FLUSH_BYTES <const> = 256 * 1024
local REQUIRED <const> = {
  s3 = { "region" },
  gs = {},
  r2 = { "account-id", "access-key-id", "secret-access-key" },
}
local SECRET <const> = { ["access-key-id"] = true, ["secret-access-key"] = true }

---@class moontap.sim.Bucket
---@field path string below the directory: "s3/NAME/DIR"
---@field key string equal for equal buckets, whatever their keys are
---@field conf string the URI without keys
---@field scheme string
---@field missing string|nil a parameter that must be there when it is added

local function parse_query(text)
  local query, names = {}, {}
  for pair in (text or ""):gmatch "[^&]+" do
    local name, value = pair:match "^([^=]+)=(.*)$"
    if not name then
      return nil
    end
    if not query[name] then
      names[#names + 1] = name
    end
    query[name] = value
  end
  return query, names
end

---A directory inside the bucket: clean segments only.
local function parse_directory(text)
  local segments = {}
  for segment in text:gmatch "[^/]+" do
    if segment == "." or segment == ".." or segment:find "[\0-\32\127\\]" then
      return nil
    end
    segments[#segments + 1] = segment
  end
  return table.concat(segments, "/")
end

---Reads a destination_conf.
---@param conf string
---@return moontap.sim.Bucket|nil bucket
---@return string|nil problem
function M.parse(conf)
  local scheme, name, rest, query_text = conf:match "^(%w+)://([^/?]*)([^?]*)%??(.*)$"
  if not scheme or not REQUIRED[scheme] then
    return nil, "expected s3://, gs:// or r2://"
  elseif #name < 3 or #name > 222 or not name:find "^[%w][%w._%-]*[%w]$" then
    return nil, "the bucket's name is not valid"
  end
  local directory = parse_directory(rest)
  local query, names = parse_query(query_text)
  if not directory or not query then
    return nil, "the directory or the parameters are not valid"
  elseif scheme == "s3" and query.endpoint then
    return nil, "S3-compatible endpoints are not supported for packet captures"
  end
  local public = {}
  for _, key in ipairs(names) do
    if not SECRET[key] then
      public[#public + 1] = key .. "=" .. query[key]
    end
  end
  local path = scheme .. "/" .. name .. (directory ~= "" and "/" .. directory or "")
  local visible = scheme .. "://" .. name .. rest
    .. (#public > 0 and "?" .. table.concat(public, "&") or "")
  table.sort(public)
  local missing
  for _, key in ipairs(REQUIRED[scheme]) do
    missing = missing or (not query[key] and key) or nil
  end
  return { scheme = scheme, path = path, conf = visible, missing = missing,
           key = path .. "?" .. table.concat(public, "&") }
end

---The directory of BUCKET, which exists afterwards.
---@param state moontap.sim.State
---@param bucket moontap.sim.Bucket
---@return string|nil path
---@return any problem
function M.directory(state, bucket)
  local path = state.bucket .. "/" .. bucket.path
  local ok, err = sys.mkdir_p(path, DIRECTORY_MODE)
  if not ok then
    return nil, err
  end
  return path
end

---Writes TEXT whole as NAME into BUCKET.
---@param state moontap.sim.State
---@param bucket moontap.sim.Bucket
---@param name string
---@param text string
---@return true|nil
---@return any problem
function M.write(state, bucket, name, text)
  local directory, err = M.directory(state, bucket)
  if not directory then
    return nil, err
  end
  local files = M.open_files(state, bucket, function() return name end, "")
  files:add("", text)
  local problem = files:finish()
  if problem then
    return nil, problem
  end
  return true
end

-- Files being written side by side, each under a temporary name until all are
-- complete: a listing of the bucket never shows half a file.
local Files = {}
Files.__index = Files

---@param state moontap.sim.State
---@param bucket moontap.sim.Bucket
---@param name_of fun(key: string): string name of the file for a key
---@param header string what each file starts with
---@return table files
function M.open_files(state, bucket, name_of, header)
  local directory, err = M.directory(state, bucket)
  return setmetatable({ directory = directory, name_of = name_of, header = header, open = {},
                        problem = not directory and tostring(err) or nil }, Files)
end

local function flush(files, file)
  local ok, err = file.handle:write(table.concat(file.parts))
  file.parts, file.size = {}, 0
  if not ok then
    files.problem = err
  end
end

---Appends BYTES to the file for KEY. What goes wrong is told by finish.
---@param key string
---@param bytes string
function Files:add(key, bytes)
  if self.problem then
    return
  end
  local file = self.open[key]
  if not file then
    local path = self.directory .. "/" .. self.name_of(key)
    local handle, err = io.open(path .. ".part", "wb")
    if not handle then
      self.problem = err
      return
    end
    file = { path = path, handle = handle, parts = { self.header }, size = #self.header }
    self.open[key] = file
  end
  file.parts[#file.parts + 1] = bytes
  file.size = file.size + #bytes
  if file.size >= FLUSH_BYTES then
    flush(self, file)
  end
end

---Completes the files, or removes them all when one could not be written.
---@return string|nil problem
function Files:finish()
  for _, file in pairs(self.open) do
    flush(self, file)
    local ok, err = file.handle:close()
    self.problem = self.problem or (not ok and err) or nil
  end
  for _, file in pairs(self.open) do
    if self.problem then
      os.remove(file.path .. ".part")
    else
      local ok, err = os.rename(file.path .. ".part", file.path)
      self.problem = not ok and err or nil
    end
  end
  return self.problem and "The files could not be written to the bucket: " .. self.problem
end

return M
