---@meta
-- Stubs for the Lua language server: the modules that are reached through `moontap`, or required
-- as "moontap.NAME".

---HTTP for scripts: TLS is verified, bodies are bounded, waits are finite.
moontap.http = {}

---@class moontap.http.Request
---@field url string http or https
---@field method? string "GET", or "POST" with a body
---@field headers? table<string, string>
---@field body? string
---@field timeout? moontap.Duration of the whole exchange
---@field connect_timeout? moontap.Duration
---@field idle_timeout? moontap.Duration without a byte in either direction
---@field body_max? integer bytes of the answer's body
---@field redirects? integer how many are followed
---@field to_file? string the body goes into this file, whole or not at all

---@class moontap.http.Response
---@field status integer
---@field headers table<string, string> names in lower case
---@field body? string
---@field url string where it came from at last
---@field elapsed number seconds

---One request and its answer, whatever its status. Waits.
---
---     local answer = assert(moontap.http.request { url = "https://example.com/" })
---     print(answer.status, #answer.body)
---@param request moontap.http.Request
---@return moontap.http.Response|nil
---@return moontap.Error|nil err `sent` says whether the request reached the peer
function moontap.http.request(request) end

---Capture files.
moontap.capture = {}

---@class moontap.CaptureFile
---@field path string
---@field packets integer records in the file
---@field bytes integer size of the file
---@field first? number time of the first packet, seconds since 1970
---@field last? number
---@field snaplen integer
---@field link_type integer

---Reads what a pcap file says of itself.
---
---     local file = assert(moontap.capture.open "first.pcap")
---     print(file.packets, file.bytes)
---@param path string
---@return moontap.CaptureFile|nil
---@return moontap.Error|nil
function moontap.capture.open(path) end

---The buckets of the embedded simulator, so that scripts on full captures run with --sim.
moontap.bucket = {}

---A bucket of the embedded simulator.
---@return string|nil destination_conf
---@return moontap.Error|nil err without --sim
function moontap.bucket.simulated() end

---The directory that stands for a bucket.
---@param destination_conf string
---@return string|nil path
---@return moontap.Error|nil
function moontap.bucket.directory(destination_conf) end

---The challenge that an ownership put into its bucket.
---@param ownership pcaps.Ownership
---@return string|nil content
---@return moontap.Error|nil
function moontap.bucket.read_challenge(ownership) end

---Whether the account owns a bucket already.
---@param destination_conf string
---@return boolean|nil
---@return moontap.Error|nil
function moontap.bucket.is_validated(destination_conf) end

---Makes the account own a bucket: asks for a challenge, reads it, answers with it.
---@param destination_conf string
---@return true|nil
---@return moontap.Error|nil
function moontap.bucket.claim(destination_conf) end

---The files of a full capture in its bucket.
---@param cap pcaps.Capture
---@return string[]|nil paths sorted
---@return moontap.Error|nil
function moontap.bucket.files(cap) end

---JSON with sorted keys; integers stay integers.
moontap.json = {}

---A value as JSON.
---@param value any
---@param options? { pretty: boolean } pretty: two spaces of indentation
---@return string
--- Raises with the path of what JSON cannot hold.
function moontap.json.encode(value, options) end

---The value that JSON text means.
---@param text string
---@return any value nil for null; null fields are left out
---@return moontap.Error|nil err what is wrong and where
function moontap.json.decode(text) end

---Marks a table as a list, also when it is empty.
---@param list? table
---@return table list
function moontap.json.array(list) end

---The host's clock, virtual under --virtual-time.
moontap.clock = {}

---The time.
---@return number seconds since 1970
function moontap.clock.now() end

---A clock that never goes back.
---@return number seconds since the machine started, sleep included; for measuring
function moontap.clock.boot() end

---A time as text.
---@param seconds number since 1970
---@return string time RFC 3339, UTC
function moontap.clock.format(seconds) end

---A time from text.
---@param text string RFC 3339
---@return number|nil seconds
function moontap.clock.parse(text) end

---Lines on standard error, without secrets. -v shows info, -vv debug.
moontap.log = {}

---Writes a line that begins with "error:".
---@param format string as for string.format
---@param ... any
function moontap.log.error(format, ...) end

---Writes a line that begins with "warning:".
---@param format string
---@param ... any
function moontap.log.warn(format, ...) end

---Writes a line with -v.
---@param format string
---@param ... any
function moontap.log.info(format, ...) end

---Writes a line with -vv.
---@param format string
---@param ... any
function moontap.log.debug(format, ...) end

---Whether lines of a level are written now.
---@param level "error"|"warn"|"info"|"debug"
---@return boolean
function moontap.log.enabled(level) end

---A text without tokens, keys and the queries of bucket addresses.
---@param text string
---@return string
function moontap.log.redact(text) end

---Everything that touches the world passes through here, and can be seen or answered.
moontap.effects = {}

---Wraps every call of an effect from now on.
---
---     local undo = moontap.effects.wrap("pcaps.create", function(next, ...)
---       print("creating")
---       return next(...)
---     end)
---@param name string
---@param wrapper fun(next: function, ...): any
---@return function undo
function moontap.effects.wrap(name, wrapper) end

---Calls an effect by its name.
---@param name string
---@param ... any
---@return any ...
function moontap.effects.call(name, ...) end

---The function that calls an effect through its wrappers.
---@param name string
---@return function
function moontap.effects.caller(name) end

---Defines an effect.
---@param name string
---@param fn function
---@return function caller
function moontap.effects.define(name, fn) end

---What effects there are.
---@return string[] names of all effects, sorted
function moontap.effects.names() end

---Schedules: when "30 2 * * mon-fri" fires, in any time zone. docs/schedules.md is the grammar.
moontap.cron = {}

---@class moontap.cron.Options
---@field dst? "cron"|"skip"|"utc" what to do where the clock jumps; "cron"
---@field name? string what H is made of
---@field seed? integer what ~ is made of: drawn once, and kept
---@field phase? moontap.Duration @every fires so much after its multiples since 1970

---A schedule of five fields, six with the second first, or a macro.
---
---     local nightly = assert(moontap.cron.parse("30 2 * * *", "Europe/Berlin"))
---     print(moontap.clock.format(nightly:next(moontap.clock.now())))
---@param expression string
---@param tz? string UTC, or what the expression says in front (CRON_TZ=…)
---@param options? moontap.cron.Options
---@return moontap.cron.Schedule|nil
---@return moontap.Error|nil err `field` says where, `hint` what to write instead
--- Raises for an unknown option.
function moontap.cron.parse(expression, tz, options) end

---When something is due: what moontap.cron.parse makes of an expression.
---@class moontap.cron.Schedule
local Schedule = {}

---When it fires next, strictly after a time.
---@param t number seconds since 1970
---@param n? integer with it: a list of up to n, at most 1000000
---@return integer|integer[]|nil seconds nil when there is none up to the year 9999
function Schedule:next(t, n) end

---When it fired last, strictly before a time.
---@param t number seconds since 1970
---@return integer|nil seconds
function Schedule:prev(t) end

---What it means, in English.
---@return string text "at 02:30 on Monday to Friday (Europe/Berlin)"
function Schedule:describe() end

---What about it often surprises.
---@return string[] warnings mostly none
function Schedule:warnings() end

---The expression with what was drawn for H and ~.
---@return string
function Schedule:resolved() end

---The name of its zone.
---@return string
function Schedule:zone() end

---The local times that a fire stands for: several where the clock skipped some.
---@param t integer seconds since 1970
---@return string[] times such as "2026-03-08T02:30:00", at most 100; none when nothing fires at t
---@return integer count
function Schedule:nominals(t) end
