-- Money is integer micro-units of the installation's currency, time is UTC milliseconds since 1970.

-- Which part of what operators edit has changed; the service reloads only that part.
CREATE TABLE revisions (
  noun  TEXT NOT NULL PRIMARY KEY,
  value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Who changed what, when.
CREATE TABLE edits (
  id     INTEGER PRIMARY KEY,
  at     INTEGER NOT NULL,
  author TEXT NOT NULL,
  noun   TEXT NOT NULL,
  what   TEXT NOT NULL
) STRICT;

CREATE TABLE decks (
  id       INTEGER PRIMARY KEY,
  name     TEXT NOT NULL UNIQUE CHECK (length(name) BETWEEN 1 AND 40),
  currency TEXT NOT NULL CHECK (currency GLOB '[A-Z][A-Z][A-Z]')
) STRICT;

CREATE TABLE deck_versions (
  id          INTEGER PRIMARY KEY,
  deck        INTEGER NOT NULL REFERENCES decks,
  imported_at INTEGER NOT NULL,
  source      TEXT NOT NULL,  -- name of the file
  sha256      TEXT NOT NULL CHECK (length(sha256) = 64),
  row_count   INTEGER NOT NULL CHECK (row_count > 0),
  author      TEXT NOT NULL,
  note        TEXT NOT NULL,
  UNIQUE (deck, id)
) STRICT;

-- The version of a deck in force at t is that of the latest activation with effective_from <= t
-- (same instant: the latest id). Nothing is updated or deleted here, so the past stays explainable.
CREATE TABLE activations (
  id             INTEGER PRIMARY KEY,
  deck           INTEGER NOT NULL,
  version        INTEGER NOT NULL,
  effective_from INTEGER NOT NULL,
  author         TEXT NOT NULL,
  created_at     INTEGER NOT NULL,
  FOREIGN KEY (deck, version) REFERENCES deck_versions (deck, id)
) STRICT;
CREATE INDEX activations_in_force ON activations (deck, effective_from, id);

-- No foreign key to deck_versions: looking the version up for each of a million rows would lengthen the
-- time an import holds the write lock, and rows are only ever written beside their version.
CREATE TABLE rates (
  version           INTEGER NOT NULL,
  prefix            TEXT NOT NULL CHECK (length(prefix) <= 15 AND prefix NOT GLOB '*[^0-9]*'),
  effective_from    INTEGER NOT NULL,
  destination       TEXT NOT NULL,
  per_minute        INTEGER NOT NULL CHECK (per_minute >= 0),
  connect_fee       INTEGER NOT NULL CHECK (connect_fee >= 0),
  minimum_seconds   INTEGER NOT NULL CHECK (minimum_seconds >= 0),
  increment_seconds INTEGER NOT NULL CHECK (increment_seconds >= 1),
  offered           INTEGER NOT NULL CHECK (offered IN (0, 1)),
  PRIMARY KEY (version, prefix, effective_from)
) STRICT, WITHOUT ROWID;

CREATE TABLE limits (
  id         INTEGER PRIMARY KEY,
  tenant     TEXT CHECK (tenant <> ''),
  account    TEXT CHECK (account <> ''),
  per_minute INTEGER NOT NULL CHECK (per_minute >= 0),
  author     TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  CHECK (account IS NULL OR tenant IS NOT NULL)
) STRICT;
CREATE UNIQUE INDEX limits_scope ON limits (ifnull(tenant, ''), ifnull(account, ''));

-- Grants and blocks are removed by saying when and by whom: attempts refer to them by id for ever.
CREATE TABLE grants (
  id         INTEGER PRIMARY KEY,
  tenant     TEXT CHECK (tenant <> ''),
  account    TEXT CHECK (account <> ''),
  prefix     TEXT NOT NULL CHECK (length(prefix) <= 15 AND prefix NOT GLOB '*[^0-9]*'),
  highest    INTEGER CHECK (highest >= 0),
  until      INTEGER,
  reason     TEXT NOT NULL,
  author     TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  removed_at INTEGER,
  removed_by TEXT,
  CHECK (account IS NULL OR tenant IS NOT NULL),
  CHECK ((removed_at IS NULL) = (removed_by IS NULL))
) STRICT;

CREATE TABLE blocks (
  id         INTEGER PRIMARY KEY,
  tenant     TEXT CHECK (tenant <> ''),
  account    TEXT CHECK (account <> ''),
  prefix     TEXT NOT NULL CHECK (length(prefix) <= 15 AND prefix NOT GLOB '*[^0-9]*'),
  source     TEXT NOT NULL,
  until      INTEGER,
  reason     TEXT NOT NULL,
  author     TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  removed_at INTEGER,
  removed_by TEXT,
  CHECK (account IS NULL OR tenant IS NOT NULL),
  CHECK ((removed_at IS NULL) = (removed_by IS NULL))
) STRICT;

-- One row per verdict. No foreign keys: nothing an operator edits may keep a verdict from being stored.
CREATE TABLE attempts (
  id            INTEGER PRIMARY KEY,
  call          TEXT NOT NULL,
  at            INTEGER NOT NULL,
  tenant        TEXT NOT NULL,
  account       TEXT NOT NULL,
  source        TEXT NOT NULL,  -- as sent, with its port
  asterisk      TEXT NOT NULL,
  linkedid      TEXT NOT NULL,
  trunk         TEXT NOT NULL,
  dialled       TEXT NOT NULL,
  number        TEXT,  -- as given to the trunk: +E.164 or a short code; NULL for a bad number
  region        TEXT,
  kind          TEXT,
  bad_number    TEXT,  -- why the dialled digits are not a number
  deck          TEXT NOT NULL,
  prefix        TEXT,
  destination   TEXT,
  per_minute    INTEGER,
  connect_fee   INTEGER,
  highest       INTEGER NOT NULL,  -- the limit that applied, and whose it was
  limit_scope   TEXT NOT NULL,
  outcome       TEXT NOT NULL CHECK (outcome IN ('allow', 'nowhere')),
  reason        TEXT NOT NULL,
  lease_seconds INTEGER,
  simulated     TEXT NOT NULL,  -- reasons of rules in shadow, separated by commas
  grant_id      INTEGER,
  block_id      INTEGER
) STRICT;
CREATE INDEX attempts_at ON attempts (at);
CREATE INDEX attempts_account ON attempts (tenant, account, at);
CREATE INDEX attempts_refused ON attempts (at) WHERE outcome = 'nowhere';

CREATE TABLE alerts (
  id          INTEGER PRIMARY KEY,
  kind        TEXT NOT NULL,
  severity    TEXT NOT NULL CHECK (severity IN ('notice', 'warning', 'critical')),
  first_at    INTEGER NOT NULL,
  last_at     INTEGER NOT NULL,
  tries       INTEGER NOT NULL CHECK (tries >= 1),
  fold        TEXT NOT NULL,  -- repeats with the same key are folded into one alert
  tenant      TEXT NOT NULL,
  account     TEXT NOT NULL,
  source      TEXT NOT NULL,
  trunk       TEXT NOT NULL,
  dialled     TEXT NOT NULL,
  number      TEXT,
  destination TEXT,
  per_minute  INTEGER,
  connect_fee INTEGER,
  highest     INTEGER,
  limit_scope TEXT,
  reason      TEXT NOT NULL,
  call        TEXT NOT NULL,
  acked_at    INTEGER,
  acked_by    TEXT,
  CHECK (first_at <= last_at),
  CHECK ((acked_at IS NULL) = (acked_by IS NULL))
) STRICT;
CREATE INDEX alerts_open ON alerts (fold, last_at) WHERE acked_at IS NULL;
