---@meta
-- Stubs for the Lua language server: the functions on tasks of the global `moontap`, and what hangs
-- on them. Its modules, such as moontap.capture, document themselves.

---@class moontap.lib
---@field version string
moontap = {}

---@alias moontap.Kind
---| "api"             the API refused; see status, code and errors
---| "http"            an answer that is none of the API's
---| "network"
---| "tls"
---| "timeout"
---| "cancelled"
---| "denied"
---| "quota"
---| "unknown_outcome" whether it was done is open; it was not sent again
---| "limit"           a stated bound was exceeded
---| "io"
---| "usage"
---| "memory"
---| "credentials"

---What the world did wrong. `tostring` of it is one good line.
---@class moontap.Error
---@field kind moontap.Kind
---@field message string
---@field status? integer HTTP status
---@field code? integer of the API's first error
---@field errors? table[] the API's errors
---@field ray? string cf-ray of the answer
---@field retryable? boolean trying again later can help
---@field sent? "no"|"maybe"|"yes" whether the request left
---@field attempts? integer
---@field candidates? string[] ids that may be what a create of unknown outcome opened

---A length of time: seconds, or text such as "90s", "5m", "1h30m".
---@alias moontap.Duration number|string

---A task. It belongs to the task that started it, which ends after it.
---@class moontap.Task
local Task = {}

---Waits for its end.
---@return any ... what its function returned; nil and an error when it was cancelled or out of time
--- Raises what its function raised.
function Task:join() end

---Cancels it and all tasks it started. Every later wait in them fails.
---@param why? string
function Task:cancel(why) end

---How it stands.
---@return "ready"|"running"|"waiting"|"done"|"failed"|"cancelled"
function Task:status() end

---Starts `fn(...)` as a task that belongs to this one.
---
---     local task = moontap.spawn(function() return pcaps.list() end)
---     local captures = assert(task:join())
---@param options { name?: string, timeout?: moontap.Duration }
---@param fn function
---@param ... any
---@return moontap.Task
---@overload fun(fn: function, ...: any): moontap.Task
function moontap.spawn(options, fn, ...) end

---Waits; other tasks run meanwhile.
---@param duration moontap.Duration
function moontap.sleep(duration) end

---The running task.
---@return moontap.Task|nil
function moontap.current() end

---Runs all functions at the same time and waits for all of them.
---@param fns function[]
---@return table|nil results the first result of each function, in its place
---@return any err what a function returned behind a nil; the others are cancelled then
---@return integer|nil index which function that was
function moontap.all(fns) end

---Runs all functions at the same time; the first that ends wins, the others are cancelled.
---@param fns function[]
---@return any ... the results of the winner
function moontap.race(fns) end

---Runs `fn(...)` with a deadline. Deadlines nest.
---@param duration moontap.Duration
---@param fn function
---@param ... any
---@return any ... what fn returned; nil and an error of kind "timeout" when time was up
function moontap.timeout(duration, fn, ...) end
