-- inside: time, waiting, randomness and the way out in a world. Time jumps; it begins at the same
-- moment in each world, and so do random numbers.

local M = {}

M["time.now"] = function(world, next) return world:time(next()) end

M["time.boot"] = M["time.now"]

M["sleep"] = function(world, next, length) return world:wait(next, length) end

M["process.exit"] = function(world, _, code)
  return world:stop("exit", ("the script leaves with status %d"):format(code or 0))
end

return M
