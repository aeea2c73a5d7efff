-- filter: filter_v1 of a request as numbers to compare packets with.

local address = require "moontap.sim.address"

local M = {}

---@class moontap.sim.Filter fields that are nil match everything
---@field nothing? boolean matches no packet of an IPv4 network
---@field source? integer
---@field source_size? integer addresses from `source` on, a power of two
---@field destination? integer
---@field destination_size? integer
---@field source_port? integer
---@field destination_port? integer
---@field protocol? integer

---Reads one address field. What is neither an address nor let through by a
---knob is a problem.
local function read_address(text, knobs)
  local value = address.parse(text)
  if value then
    return value, 1
  end
  if address.is_ipv6(text) then
    return knobs.filter_ipv6
  end
  local base, size = address.parse_prefix(text)
  if base and knobs.filter_cidr ~= "reject" then
    if knobs.filter_cidr == "accept" then
      return base, size
    end
    return "ignore"
  end
  return "reject"
end

-- What fits the header field that a number is compared with.
local LARGEST <const> = { source_port = 65535, destination_port = 65535, protocol = 255 }

---Compiles FILTER_V1 (nil: everything).
---@param filter_v1? table
---@param knobs table
---@return moontap.sim.Filter|nil filter
---@return {pointer: string, message: string}[]|nil problems
function M.compile(filter_v1, knobs)
  local made, problems = {}, {}
  for _, side in ipairs { "source", "destination" } do
    local text = filter_v1 and filter_v1[side .. "_address"]
    if text and text ~= "" then
      local value, size = read_address(text, knobs)
      if value == "reject" then
        problems[#problems + 1] = { pointer = "/filter_v1/" .. side .. "_address",
                                    message = side .. "_address is not an IP address" }
      elseif value == "accept" then
        made.nothing = true
      elseif value ~= "ignore" then
        made[side], made[side .. "_size"] = value, size
      end
    end
  end
  for _, name in ipairs { "source_port", "destination_port", "protocol" } do
    local value = filter_v1 and filter_v1[name]
    if value and (value < 0 or value > LARGEST[name]) then
      problems[#problems + 1] = { pointer = "/filter_v1/" .. name,
                                  message = ("%s is not within 0..%d"):format(name,
                                    LARGEST[name]) }
    elseif value and not (value == 0 and knobs.filter_zero == "unset") then
      made[name] = math.tointeger(value)
    end
  end
  if #problems > 0 then
    return nil, problems
  end
  return made
end

return M
