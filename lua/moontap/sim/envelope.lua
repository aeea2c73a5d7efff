-- envelope: the API's JSON frame around results and errors, and its headers.

local json = require "moontap.json"

local M = {}

local JSON_TYPE <const> = "application/json"

---@param status integer
---@param body string
---@return table reply
local function reply(status, body)
  return { status = status, headers = { ["Content-Type"] = JSON_TYPE }, body = body }
end

---A successful answer. RESULT nil becomes `null`.
---@param result any
---@param info? table result_info of a list
---@return table reply
function M.ok(result, info)
  local frame = { success = true, errors = json.array {}, messages = json.array {},
                  result = result, result_info = info }
  local body = json.encode(frame)
  if result == nil then
    body = body:gsub("^{", '{"result":null,', 1)
  end
  return reply(200, body)
end

---One entry of `errors`.
---@param code integer
---@param message string
---@param pointer? string JSON pointer into the request's body
---@param chain? table[] entries of error_chain
---@return table
function M.entry(code, message, pointer, chain)
  return {
    code = code,
    message = message,
    source = pointer and { pointer = pointer } or nil,
    error_chain = chain and json.array(chain) or nil,
  }
end

---A refusal with its entries.
---@param status integer
---@param entries table[]
---@return table reply
function M.fail(status, entries)
  local body = json.encode { success = false, errors = json.array(entries),
                             messages = json.array {} }
  return reply(status, (body:gsub("^{", '{"result":null,', 1)))
end

---204: done, nothing to say.
---@return table reply
function M.empty()
  return { status = 204, headers = {}, body = "" }
end

---A packet capture as it is.
---@param bytes string
---@return table reply
function M.pcap(bytes)
  return { status = 200, headers = { ["Content-Type"] = "application/vnd.tcpdump.pcap" },
           body = bytes }
end

return M
