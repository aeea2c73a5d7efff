-- log: what is written, and that no secret is. Also the small tables beside it.

local config = require "moontap.config"
local errors = require "moontap.errors"
local log = require "moontap.log"

describe("log.redact", function()
  local SECRET = "s3cr3t-V4lue"

  it("hides secrets in any of their shapes", function()
    for _, text in ipairs {
      "Authorization: Bearer " .. SECRET,
      "authorization=" .. SECRET,
      '"Authorization": "Bearer ' .. SECRET .. '"',
      "sent Bearer " .. SECRET .. " to the API",
      "X-Auth-Key: " .. SECRET,
      "CLOUDFLARE_API_TOKEN=" .. SECRET,
      "CLOUDFLARE_API_KEY=" .. SECRET,
      '{"api_token":"' .. SECRET .. '","id":1}',
      "api_key = '" .. SECRET .. "'",
      "password: " .. SECRET,
      "secret-access-key=" .. SECRET .. "&x=1",
      "r2://bucket/dir?account-id=1&access-key-id=" .. SECRET,
      "S3://Bucket/dir?region=eu&x=" .. SECRET .. " failed",
      "gs://bucket/dir?" .. SECRET,
      '"destination_conf": "https://store.example/x?' .. SECRET .. '"',
      "https://user:" .. SECRET .. "@host/path",
      "token: " .. SECRET .. ", token: " .. SECRET,
    } do
      local shown = log.redact(text)
      assert.is_nil(shown:find(SECRET, 1, true), text)
      assert.matches("[hidden]", shown, 1, true)
    end
  end)

  it("takes time in proportion to the text, whatever stands there", function()
    for _, piece in ipairs { "a", "-", "secret", "token ", "access-key", "s3://", "://a:", "://:::",
                             "bearer ", "a:b@", '"' } do
      local text = piece:rep((1 << 20) // #piece) -- what is quadratic does not end
      assert.is_true(#log.redact(text) > 0)
      assert.is_nil(log.redact(text .. " token=" .. SECRET):find(SECRET, 1, true))
    end
  end)

  it("keeps the rest", function()
    assert.equal("r2://bucket/dir?[hidden] has no object",
      log.redact "r2://bucket/dir?secret=1 has no object")
    assert.equal('{"api_token":"[hidden]","id":1}', log.redact '{"api_token":"x","id":1}')
    for _, text in ipairs { "", "GET /accounts/1/pcaps: 200", "s3://bucket/dir/file.pcap",
                            "set CLOUDFLARE_API_TOKEN or --token-file", "https://host/path?page=2",
                            "2026-01-01T12:00:00Z" } do
      assert.equal(text, log.redact(text))
    end
  end)
end)

describe("the log", function()
  local io = require "io" -- the table itself: its field is exchanged below
  local written, stderr, level

  before_each(function()
    written, stderr, level = {}, io.stderr, log.level
    io.stderr = { write = function(_, ...) written[#written + 1] = table.concat { ... } end }
  end)

  after_each(function()
    io.stderr, log.level = stderr, level
  end)

  it("writes what its level asks for", function()
    log.level = "warn"
    log.error("broken: %s", "disk")
    log.warn("odd")
    log.info("detail")
    log.level = "debug"
    log.info("%d%%", 5)
    log.debug("100%")
    assert.same({ "moontap: error: broken: disk\n", "moontap: warning: odd\n", "moontap: 5%\n",
                  "moontap: 100%\n" }, written)
    assert.is_true(log.enabled "debug")
    log.level = "error"
    assert.is_false(log.enabled "warn")
    assert.error_matches(function() log.enabled "loud" end, "no log level is called 'loud'")
  end)

  it("writes one line without control characters or secrets", function()
    log.warn("a\nb\27[31m\t%s", "token=abc")
    assert.same({ "moontap: warning: a\\nb\\x1b[31m\\ttoken=[hidden]\n" }, written)
  end)
end)

describe("errors", function()
  it("are recognised, by kind too", function()
    local err = errors.new("io", "read x: gone", { path = "x" })
    assert.equal("read x: gone", tostring(err))
    assert.equal("x", err.path)
    assert.is_true(errors.is(err))
    assert.is_true(errors.is(err, "io"))
    assert.is_false(errors.is(err, "network"))
    for _, value in ipairs { "text", 5, { kind = "io", message = "" }, false } do
      assert.is_false(errors.is(value))
    end
  end)
end)

describe("config", function()
  it("has defaults for what was not given", function()
    local fresh = setmetatable({}, getmetatable(config))
    assert.equal(1, fresh.speed)
    assert.equal(0, fresh.verbose)
    assert.is_false(fresh.quiet)
    assert.is_nil(fresh.base_url)
  end)
end)
