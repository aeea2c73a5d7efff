---@meta
-- Stubs for the Lua language server: the global `pcaps`, its parameters and its answers.

---@class pcaps.Filter
---@field source_address? string one IPv4 address; IPv6 with the option allow_ipv6
---@field source_port? integer 0 to 65535
---@field destination_address? string
---@field destination_port? integer
---@field protocol? integer|string IP protocol number, or "tcp", "udp", "icmp", "gre", …

---@class pcaps.Params
---@field type "simple"|"full"
---@field time_limit integer|string seconds, 1 to 300 (simple) or 86400 (full); also "5m"
---@field packet_limit? integer 1 to 10000; a simple capture needs it
---@field byte_limit? integer full captures: 1 to 1000000000
---@field colo_name? string full captures need it: "ord02" or "ORD"
---@field destination_conf? string full captures need it: a bucket that was validated
---@field offset_time? string simple captures: look back from then; also "-10m"
---@field filter_v1? pcaps.Filter without it everything is captured
---@field system? "magic-transit"

---@class pcaps.Options
---@field timeout? moontap.Duration of one attempt
---@field deadline? moontap.Duration of all attempts together
---@field max_retries? integer
---@field allow_ipv6? boolean

---@alias pcaps.Status
---| "unknown"
---| "pending"
---| "running"
---| "conversion_pending"
---| "conversion_running"
---| "success"  done
---| "complete" done
---| "failed"

---@class pcaps.WaitOptions
---@field timeout? moontap.Duration
---@field interval? moontap.Duration between two looks
---@field progress? fun(cap: pcaps.Capture, elapsed: number, timeout: number, is_over?: boolean)

---@class pcaps.ClientOptions
---@field account? string an account of the accounts file by its name, with its token
---@field account_id? string
---@field api_token? string
---@field token_file? string
---@field api_email? string together with api_key
---@field api_key? string
---@field base_url? string
---@field timeout? moontap.Duration of one attempt
---@field deadline? moontap.Duration of all attempts of one operation
---@field max_retries? integer

---A capture: the API's answer, and what can be done with it.
---@class pcaps.Capture
---@field id string
---@field type "simple"|"full"
---@field status pcaps.Status
---@field submitted string
---@field system string
---@field time_limit integer
---@field filter_v1? pcaps.Filter
---@field offset_time? string
---@field byte_limit? integer
---@field colo_name? string
---@field destination_conf? string
---@field error_message? string
---@field packets_captured? integer
---@field stop_requested? string
local Capture = {}

---Waits until it is done. One that failed gives nil and an error with its error_message.
---@param options? pcaps.WaitOptions
---@return pcaps.Capture|nil
---@return moontap.Error|nil
function Capture:wait(options) end

---Asks the API how it stands and takes that over.
---@param options? pcaps.Options
---@return pcaps.Capture|nil
---@return moontap.Error|nil
function Capture:refresh(options) end

---Stops a full capture.
---@param options? pcaps.Options
---@return pcaps.Capture|nil
---@return moontap.Error|nil
function Capture:stop(options) end

---Downloads the file of a simple capture.
---@param path? string without it the file goes to the state directory
---@param options? pcaps.Options
---@return string|nil path
---@return moontap.Error|nil
function Capture:download(path, options) end

---Whether nothing more will come.
---@return boolean
function Capture:done() end

---The cf-ray of the last answer about it.
---@return string|nil
function Capture:ray() end

---@class pcaps.Ownership
---@field id string
---@field status "pending"|"success"|"failed"
---@field destination_conf string
---@field filename string the challenge in the bucket
---@field submitted string
---@field validated? string

---An account at an address.
---@class pcaps.Client
---@field account_id string
---@field base_url string
pcaps = {}

---A client of its own. What is left out comes from the command line and the environment.
---@param options pcaps.ClientOptions
---@return pcaps.Client|nil
---@return moontap.Error|nil
function pcaps.client(options) end

---Opens a capture. Never opens two for one call.
---
---     local cap = assert(pcaps.create { type = "simple", time_limit = 300, packet_limit = 10000 })
---@param params pcaps.Params
---@param options? pcaps.Options
---@return pcaps.Capture|nil
---@return moontap.Error|nil
function pcaps.create(params, options) end

---The captures of the account, at most 50.
---@param options? pcaps.Options
---@return pcaps.Capture[]|nil
---@return moontap.Error|nil
function pcaps.list(options) end

---A capture as it stands now.
---@param id string
---@param options? pcaps.Options
---@return pcaps.Capture|nil
---@return moontap.Error|nil
function pcaps.get(id, options) end

---Stops a full capture.
---@param id string
---@param options? pcaps.Options
---@return true|nil
---@return moontap.Error|nil
function pcaps.stop(id, options) end

---Downloads the file of a simple capture.
---@param id string
---@param path? string
---@param options? pcaps.Options
---@return string|nil path
---@return moontap.Error|nil
function pcaps.download(id, path, options) end

---Buckets that full captures may go to.
pcaps.ownership = {}

---Writes a challenge into a bucket.
---@param params { destination_conf: string }
---@param options? pcaps.Options
---@return pcaps.Ownership|nil
---@return moontap.Error|nil
function pcaps.ownership.create(params, options) end

---The buckets of the account, also those not validated yet.
---@param options? pcaps.Options
---@return pcaps.Ownership[]|nil
---@return moontap.Error|nil
function pcaps.ownership.list(options) end

---Gives a bucket up.
---@param id string
---@param options? pcaps.Options
---@return true|nil
---@return moontap.Error|nil
function pcaps.ownership.delete(id, options) end

---Answers with the content of the challenge.
---@param params { destination_conf: string, ownership_challenge: string }
---@param options? pcaps.Options
---@return pcaps.Ownership|nil
---@return moontap.Error|nil
function pcaps.ownership.validate(params, options) end
