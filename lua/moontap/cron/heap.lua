-- heap: a binary heap. The least item is on top.

local Heap = {}
Heap.__index = Heap

local M = {}

---@param less fun(a: any, b: any): boolean
---@return table heap
function M.new(less)
  return setmetatable({ less = less, n = 0 }, Heap)
end

---@return any|nil
function Heap:top()
  return self[1]
end

function Heap:push(item)
  self.n = self.n + 1
  local i, less = self.n, self.less
  while i > 1 and less(item, self[i // 2]) do
    self[i] = self[i // 2]
    i = i // 2
  end
  self[i] = item
end

---Takes the top off.
---@return any|nil
function Heap:pop()
  local top, n, less = self[1], self.n, self.less
  if n == 0 then return nil end
  local item = self[n]
  self[n], self.n = nil, n - 1
  n = n - 1
  if n == 0 then return top end
  local i = 1
  while true do
    local child = 2 * i
    if child > n then break end
    if child < n and less(self[child + 1], self[child]) then child = child + 1 end
    if not less(self[child], item) then break end
    self[i] = self[child]
    i = child
  end
  self[i] = item
  return top
end

return M
