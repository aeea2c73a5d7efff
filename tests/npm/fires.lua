-- For each line "EXPRESSION<tab>ZONE<tab>SECONDS<tab>COUNT" of standard input a line with the fires
-- after that time, as seconds since 1970; an empty one for what never fires. Run by cron.test.cjs.

local cron = require "moontap.cron"

for line in io.lines() do
  local expr, zone, from, n = line:match "^([^\t]*)\t([^\t]*)\t([^\t]*)\t([^\t]*)$"
  local schedule, err = cron.parse(expr, zone)
  if schedule then
    print(table.concat(schedule:next(tonumber(from), tonumber(n)), " "))
  else
    print(err.message:find "never fires" and "" or err.message)
  end
end
