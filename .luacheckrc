std = "lua54"
max_line_length = 100
codes = true
unused_args = false -- a callback names what it gets
-- positive list: globals, unused and shadowed values, unreachable code, line length
only = { "1", "2", "3", "4", "5", "631" }
ignore = { "431/err", "411/err", "421/err", "211/_ENV" } -- `local x, err = …` again; a chunk's own _ENV
read_globals = { "moontap", "pcaps" }

files["lua/moontap/meta"] = { only = { "631" } }
files["tests/spec"] = { std = "lua54+busted" }
files["tests/spec/run.lua"] = { std = "lua54" }
