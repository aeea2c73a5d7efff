-- later: a module that is loaded when it is first used, for what the way from the start of a
-- script to its first create does not need.

--- Stands in for module `name`: reading a member loads it.
---@param name string
---@return table
---
---     local random = later "moontap.random"
return function(name)
  return setmetatable({}, { __index = function(_, key) return require(name)[key] end })
end
