-- PINs, what was keyed wrong, and what came of asking for one.

-- How the PINs of a tenant are sealed (see policy.pin.Scheme), fixed with its first one.
CREATE TABLE pin_schemes (
  tenant TEXT NOT NULL PRIMARY KEY CHECK (tenant <> ''),
  salt   BLOB NOT NULL,
  passes INTEGER NOT NULL CHECK (passes >= 1),
  kib    INTEGER NOT NULL CHECK (kib >= 8),
  lanes  INTEGER NOT NULL CHECK (lanes >= 1),
  mark   BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- A PIN is removed by saying when and by whom: attempts refer to it by id for ever. Its digits stand nowhere.
CREATE TABLE pins (
  id         INTEGER PRIMARY KEY,
  tenant     TEXT NOT NULL REFERENCES pin_schemes,
  name       TEXT NOT NULL CHECK (length(name) BETWEEN 1 AND 80),
  kind       TEXT NOT NULL CHECK (kind IN ('digits', 'totp')),
  duress     INTEGER NOT NULL CHECK (duress IN (0, 1)),
  regions    TEXT NOT NULL,  -- separated by commas, as are the prefixes
  prefixes   TEXT NOT NULL,
  highest    INTEGER CHECK (highest >= 0),
  per_day    INTEGER CHECK (per_day >= 0),
  begins     INTEGER,
  until      INTEGER,
  hours      TEXT NOT NULL,  -- as policy.pin.Hours writes it; '' for always
  accounts   TEXT NOT NULL,  -- a JSON array
  seal_index BLOB NOT NULL,
  seal_proof BLOB NOT NULL,
  author     TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  revoked_at INTEGER,
  revoked_by TEXT,
  CHECK ((revoked_at IS NULL) = (revoked_by IS NULL))
) STRICT;
CREATE UNIQUE INDEX pins_person ON pins (tenant, name, duress) WHERE revoked_at IS NULL;
CREATE UNIQUE INDEX pins_index ON pins (tenant, seal_index) WHERE revoked_at IS NULL;

-- The last code of an authenticator that was used: none is good twice.
CREATE TABLE pin_steps (
  pin  INTEGER NOT NULL PRIMARY KEY REFERENCES pins,
  step INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What was keyed and not known to be right: written before it is looked at, and removed when it was right.
CREATE TABLE pin_failures (
  id      INTEGER PRIMARY KEY,
  at      INTEGER NOT NULL,
  tenant  TEXT NOT NULL,
  account TEXT NOT NULL,
  source  TEXT NOT NULL  -- an address without port
) STRICT;
CREATE INDEX pin_failures_at ON pin_failures (at);

-- Failures up to `at` no longer count: of an account, a source, or a tenant with all its accounts. '' is not named.
CREATE TABLE pin_unlocks (
  id      INTEGER PRIMARY KEY,
  at      INTEGER NOT NULL,
  tenant  TEXT NOT NULL,
  account TEXT NOT NULL,
  source  TEXT NOT NULL,
  author  TEXT NOT NULL
) STRICT;

-- Whose PIN an edit was about, to find a person's; NULL where it was about nobody's, or about no tenant.
ALTER TABLE edits ADD COLUMN tenant TEXT;
ALTER TABLE edits ADD COLUMN about TEXT;

ALTER TABLE attempts ADD COLUMN pin_id INTEGER;
ALTER TABLE attempts ADD COLUMN pin TEXT;  -- whose
ALTER TABLE attempts ADD COLUMN pin_tries INTEGER;  -- NULL: nobody was asked
ALTER TABLE attempts ADD COLUMN duress INTEGER NOT NULL DEFAULT 0;
CREATE INDEX attempts_pin ON attempts (pin_id, at) WHERE pin_id IS NOT NULL;

-- A grant lifts the need for a PIN too, unless it says otherwise; and who watches is reminded before it ends.
ALTER TABLE grants ADD COLUMN asks_pin INTEGER NOT NULL DEFAULT 0 CHECK (asks_pin IN (0, 1));
ALTER TABLE grants ADD COLUMN reminded_at INTEGER;
