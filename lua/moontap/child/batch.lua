-- batch: in the loader's process, evaluates the files of a frame one after the other, and sends
-- what they return. It decides nothing: of a file that goes wrong it only says that it did.
--
--   host   { batch = { { name, text }, … }, sources = { { name, text, path }, … }, is_new = true }
--   child  { loaded = { node | { used = { name, … }, v = node } | { again = true, needs = name },
--            … } }
--
-- The results of a frame come in one or more frames, in order. is_new: what sources came before are
-- of another tree.

local json = require "moontap.json"

local M = {}

local BYTES_MAX <const> = 64 << 10 -- of results before they are sent
local SECONDS_MAX <const> = 0.1    -- … that they are kept

local function add_sources(frame, evaluator)
  if frame.is_new then evaluator.forget_sources() end
  for _, source in ipairs(frame.sources or {}) do
    evaluator.add_source(source[1], source[2], source[3])
  end
end

---@param frame table
---@param evaluator table moontap.native.evaluator
---@param send fun(text: string)
---@param boot fun(): number the clock
function M.evaluate(frame, evaluator, send, boot)
  local results, bytes, began = {}, 0, boot()
  local function flush()
    send('{"loaded":[' .. table.concat(results, ",") .. "]}")
    results, bytes, began = {}, 0, boot()
  end
  add_sources(frame, evaluator)
  for i, file in ipairs(frame.batch) do
    local text, needs = evaluator.evaluate(file[1], file[2])
    results[#results + 1] = text or json.encode { again = true, needs = needs }
    bytes = bytes + #results[#results]
    if i == #frame.batch or bytes >= BYTES_MAX or boot() - began >= SECONDS_MAX then flush() end
  end
end

return M
