-- steer: what trigger, pause and resume share: they change one playbook that was scheduled here,
-- and say what they have done.

local options = require "moontap.cmd.options"
local show = require "moontap.cmd.showcron"

local M = {}

---@param has_note? boolean it takes --note
---@return moontap.cmd.Command
function M.command(summary, name, description, has_note)
  return {
    summary = summary, usage = { ("moontap %s [OPTIONS] PLAYBOOK"):format(name) },
    description = description,
    arguments = { { "playbook", name = "PLAYBOOK", help = "its name" } },
    options = has_note and {
      { "--note", arg = "TEXT", convert = options.convert.note, help = "why" },
    } or nil,
    groups = { "state", "output" },
  }
end

---Changes a playbook.
---@param playbook string
---@param change fun(store: moontap.State): table|nil, any facts for programs and words for people;
---  nil and an error
---@return integer|nil status
---@return table|nil err
function M.change(playbook, change)
  return show.with_state(function(store)
    local ok, err = show.known(store, playbook)
    if not ok then return nil, err end
    local facts, words = change(store)
    if not facts then return nil, words end
    facts.playbook = playbook
    return show.done(facts, playbook .. " " .. words)
  end)
end

return M
