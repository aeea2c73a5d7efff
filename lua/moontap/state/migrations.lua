-- migrations: the tables of the state database, as the steps that make them. A step is never
-- changed once it was released: a later one is added. `PRAGMA user_version` counts those done.

local M = {}

---@type string[]
M.STEPS = {
  [[
-- An account at an address of the API; everything below belongs to one.
CREATE TABLE accounts (
  id INTEGER PRIMARY KEY,
  base_url TEXT NOT NULL,
  account_id TEXT NOT NULL,
  UNIQUE (base_url, account_id)
) STRICT;

-- Processes that have written here. One is alive while it holds the lock on its file in owners/.
CREATE TABLE owners (
  id TEXT PRIMARY KEY,
  pid INTEGER NOT NULL,
  host TEXT NOT NULL,
  command TEXT NOT NULL,
  started REAL NOT NULL,
  ended REAL,
  failed INTEGER -- 1: what it opened is to be stopped
) STRICT, WITHOUT ROWID;

-- Creates that somebody asked for: wanted, claimed (has the slot), sending, then one outcome: done,
-- adopted, shared, refused, unknown or abandoned.
CREATE TABLE intents (
  id INTEGER PRIMARY KEY,
  account INTEGER NOT NULL REFERENCES accounts (id),
  kind TEXT NOT NULL, -- simple or full: whose slot it takes
  state TEXT NOT NULL,
  owner TEXT NOT NULL REFERENCES owners (id),
  asked REAL NOT NULL,
  deadline REAL NOT NULL,
  priority INTEGER NOT NULL,
  share_key TEXT, -- of those that may share one capture with their equals
  follows INTEGER, -- the intent whose capture it shares
  sent REAL, -- since 1970, when the last attempt was sent
  sent_boot REAL, -- the same on the boot clock of boot_id
  boot_id TEXT,
  attempts INTEGER NOT NULL DEFAULT 0,
  settled REAL,
  capture TEXT,
  ray TEXT,
  error TEXT,
  error_kind TEXT
) STRICT;
-- Open ones: few, whatever the table holds. Queries that want this index say "settled IS NULL".
CREATE INDEX intents_open ON intents (account, kind) WHERE settled IS NULL;
CREATE INDEX intents_capture ON intents (account, capture) WHERE capture IS NOT NULL;

-- What is personal of an intent. Purged on its own; the intent stays.
CREATE TABLE details (
  intent INTEGER PRIMARY KEY REFERENCES intents (id),
  params TEXT NOT NULL, -- JSON, the parameters of the API; no keys of buckets
  who TEXT NOT NULL,
  run TEXT NOT NULL,
  script TEXT,
  why TEXT,
  case_id TEXT
) STRICT;

-- Captures that intents of this machine opened, and those of others that were seen to hold a slot.
CREATE TABLE captures (
  account INTEGER NOT NULL REFERENCES accounts (id),
  id TEXT NOT NULL,
  intent INTEGER REFERENCES intents (id), -- absent: somebody else's
  type TEXT,
  status TEXT,
  seen REAL NOT NULL, -- when its status was last looked at
  is_done INTEGER NOT NULL DEFAULT 0,
  is_detached INTEGER NOT NULL DEFAULT 0, -- it outlives the run that opened it
  stop_asked REAL,
  file TEXT,
  bytes INTEGER,
  sha256 TEXT,
  downloaded REAL,
  held_at REAL,
  held_why TEXT,
  purged REAL,
  PRIMARY KEY (account, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX captures_open ON captures (account) WHERE is_done = 0 AND type = 'full';

-- The two limits of an account: when the next create is possible, and the capture in the way.
CREATE TABLE slots (
  account INTEGER NOT NULL REFERENCES accounts (id),
  kind TEXT NOT NULL,
  free_at REAL NOT NULL DEFAULT 0,
  capture TEXT,
  PRIMARY KEY (account, kind)
) STRICT, WITHOUT ROWID;

-- The chain: each row holds the hash of the one before. What a row is about stands in audit_data
-- and may be purged; its digest stays.
CREATE TABLE audit (
  seq INTEGER PRIMARY KEY,
  at REAL NOT NULL,
  event TEXT NOT NULL,
  subject TEXT NOT NULL,
  digest TEXT NOT NULL,
  hash TEXT NOT NULL
) STRICT;
CREATE TABLE audit_data (
  seq INTEGER PRIMARY KEY REFERENCES audit (seq),
  salt TEXT NOT NULL,
  data TEXT NOT NULL
) STRICT;

-- When something was last done that is done once in a while.
CREATE TABLE marks (
  name TEXT PRIMARY KEY,
  at REAL NOT NULL
) STRICT, WITHOUT ROWID;
]],
  [[
-- The last row of the chain: one that is cut off at its end is noticed.
CREATE TABLE audit_head (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  seq INTEGER NOT NULL,
  hash TEXT NOT NULL
) STRICT;
INSERT INTO audit_head SELECT 1, seq, hash FROM audit ORDER BY seq DESC LIMIT 1;

-- What has to be known of a create whose run has died before its answer came: it is stopped when it
-- was found again, unless it was to outlive its run.
ALTER TABLE intents ADD COLUMN is_detached INTEGER NOT NULL DEFAULT 0;
ALTER TABLE intents ADD COLUMN is_lost INTEGER NOT NULL DEFAULT 0;

-- What tidying up asks for.
CREATE INDEX intents_owner ON intents (owner);
CREATE INDEX owners_open ON owners (started) WHERE ended IS NULL;
]],
  [[
-- Of a purged capture, whose details are gone: the case it belonged to.
ALTER TABLE captures ADD COLUMN case_id TEXT;
-- When it was submitted, as the API says it.
ALTER TABLE captures ADD COLUMN submitted TEXT;
CREATE INDEX captures_file ON captures (file) WHERE file IS NOT NULL;
]],
  [[
-- Where each playbook's schedule stands. Apart from history: purging that moves no cursor.
CREATE TABLE cursors (
  playbook TEXT PRIMARY KEY,
  cursor REAL NOT NULL, -- all due times up to here have their verdict
  effective_since REAL NOT NULL, -- when its schedule became what it is
  fingerprint TEXT NOT NULL, -- of that schedule
  seed INTEGER NOT NULL -- what ~ is drawn from, once
) STRICT, WITHOUT ROWID;

-- Each due time, with its one verdict: fired, skipped, missed or lost; none yet: it waits in the
-- queue of its playbook. Very many that were missed may stand in one row, up to `through`.
CREATE TABLE dues (
  id INTEGER PRIMARY KEY,
  playbook TEXT NOT NULL,
  nominal REAL NOT NULL,
  planned REAL NOT NULL, -- with its jitter
  trigger TEXT NOT NULL, -- cron or manual
  verdict TEXT,
  reason TEXT,
  decided REAL,
  through REAL,
  count INTEGER NOT NULL DEFAULT 1,
  UNIQUE (playbook, nominal)
) STRICT;
CREATE INDEX dues_waiting ON dues (playbook, nominal) WHERE verdict IS NULL;

-- Attempts: waiting (from `at` on), claimed, running, then ok, failed, cancelled or lost.
CREATE TABLE runs (
  id INTEGER PRIMARY KEY,
  due INTEGER NOT NULL REFERENCES dues (id),
  playbook TEXT NOT NULL,
  attempt INTEGER NOT NULL,
  state TEXT NOT NULL,
  at REAL NOT NULL,
  owner TEXT,
  claimed REAL,
  started REAL,
  ended REAL,
  error TEXT,
  error_kind TEXT,
  log TEXT, -- file
  version TEXT, -- digest of the playbook's file
  UNIQUE (due, attempt)
) STRICT;
CREATE INDEX runs_open ON runs (playbook) WHERE state IN ('waiting', 'claimed', 'running');
CREATE INDEX runs_of ON runs (playbook, id);

-- Named things that one run at a time may use, over all playbooks.
CREATE TABLE mutexes (
  name TEXT PRIMARY KEY,
  run INTEGER NOT NULL REFERENCES runs (id)
) STRICT, WITHOUT ROWID;

CREATE TABLE pauses (
  playbook TEXT PRIMARY KEY,
  at REAL NOT NULL,
  who TEXT NOT NULL,
  note TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- What else a schedule has met: steps of the clock, changed zones, reloads.
CREATE TABLE happenings (
  id INTEGER PRIMARY KEY,
  at REAL NOT NULL,
  event TEXT NOT NULL,
  playbook TEXT,
  message TEXT NOT NULL
) STRICT;

-- Creates of a playbook on a day (UTC), for grants that count them.
CREATE TABLE used (
  playbook TEXT NOT NULL,
  day TEXT NOT NULL,
  count INTEGER NOT NULL,
  PRIMARY KEY (playbook, day)
) STRICT, WITHOUT ROWID;
]],
  [[
-- The release of the tz database that the run's zone came from.
ALTER TABLE runs ADD COLUMN tzdb TEXT;
-- When a pause of the playbook ended: what was due before is made up for only where it says so.
ALTER TABLE cursors ADD COLUMN resumed REAL;
]],
  [[
-- A create touches few pages: what is personal stands in the row that it belongs to, NULL once it
-- was purged, and indexes that only rare questions would use are gone.
PRAGMA secure_delete = ON; -- nothing personal is left where no purge looks
ALTER TABLE audit ADD COLUMN salt TEXT;
ALTER TABLE audit ADD COLUMN data TEXT;
UPDATE audit SET (salt, data) = (SELECT salt, data FROM audit_data d WHERE d.seq = audit.seq);
DROP TABLE audit_data;
ALTER TABLE intents ADD COLUMN params TEXT; -- JSON, the parameters of the API; no keys of buckets
ALTER TABLE intents ADD COLUMN who TEXT;
ALTER TABLE intents ADD COLUMN run TEXT;
ALTER TABLE intents ADD COLUMN script TEXT;
ALTER TABLE intents ADD COLUMN why TEXT;
ALTER TABLE intents ADD COLUMN case_id TEXT;
UPDATE intents SET (params, who, run, script, why, case_id) = (SELECT params, who, run, script, why,
  case_id FROM details d WHERE d.intent = intents.id);
DROP TABLE details;
DROP INDEX intents_owner;
DROP INDEX intents_capture;
CREATE INDEX intents_shared ON intents (account, capture) WHERE state = 'shared';
]],
}

return M
