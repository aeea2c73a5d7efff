-- config: what the command line has settled, for the rest to read. The command line writes it once
-- before anything else runs; a field that was not given reads as its default.

---@class moontap.config
---@field base_url? string
---@field account_id? string
---@field token_file? string
---@field account? string name of the account in the accounts file
---@field accounts? string that file, where it is not at its usual place
---@field cacert? string file with the only roots to trust
---@field state? string directory for what outlives a run
---@field sim? { base_url: string, account_id: string, api_token: string } set under --sim
---@field command? string the command; nil where a script was started without the parser
---@field script? string the script that it runs
---@field case? string what captures are for
---@field dry_run? boolean
---@field read_only? boolean
---@field passes_downloads? boolean what is downloaded is passed on, and its file goes away
---@field speed number divides the durations that belong to the API; 1
---@field verbose integer 0, 1 or 2
---@field tz? string the zone in which commands print and read times; UTC
---@field quiet boolean
---@field json boolean
local defaults = { speed = 1, verbose = 0, quiet = false, json = false }

return setmetatable({}, { __index = defaults })
