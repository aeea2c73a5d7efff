-- ownership-setup: proves that a bucket is yours, so that full captures may be written to it.
--
--   moontap run --sim scripts/ownership-setup.lua
--   moontap run scripts/ownership-setup.lua BUCKET                   writes a challenge into it
--   moontap run scripts/ownership-setup.lua BUCKET FILE              answers with that challenge
--
-- BUCKET is a destination_conf: s3://NAME/DIR?region=REGION, gs://NAME/DIR, r2://NAME?… . FILE is
-- the challenge as it was fetched from the bucket; its content counts, not its name.
local bucket = require "moontap.bucket"

local destination = arg[1] or assert(bucket.simulated())
local challenge

if arg[2] then
  challenge = assert(io.open(arg[2])):read "a"
else
  local ownership = assert(pcaps.ownership.create { destination_conf = destination })
  print("challenge", ownership.filename)
  challenge = not arg[1] and assert(bucket.read_challenge(ownership))
end

if challenge then
  assert(pcaps.ownership.validate {
    destination_conf = destination, ownership_challenge = challenge,
  })
else
  print "Fetch that file from the bucket, then run this again with its path behind BUCKET."
end

for _, ownership in ipairs(assert(pcaps.ownership.list())) do
  print(ownership.id, ownership.status, (ownership.destination_conf:gsub("%?.*", "")))
end
