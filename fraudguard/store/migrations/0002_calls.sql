-- Calls followed over AMI, who connects from where, and the outbox of alerts.

-- What a call is billed by stands beside its verdict, so that a restart can go on pricing calls that are up.
ALTER TABLE attempts ADD COLUMN minimum_seconds INTEGER;
ALTER TABLE attempts ADD COLUMN increment_seconds INTEGER;

-- One row per leg towards a trunk; a verdict has several when the trunk is dialled again.
CREATE TABLE calls (
  asterisk          TEXT NOT NULL,
  uniqueid          TEXT NOT NULL,  -- of the trunk's channel
  linkedid          TEXT NOT NULL,
  channel           TEXT NOT NULL,  -- the trunk's channel
  caller            TEXT NOT NULL,  -- the channel that dialled it; '' when Asterisk itself did
  call              TEXT NOT NULL,  -- the verdict that allowed it; '' for none
  why               TEXT NOT NULL,  -- the verdict's reason; or fence, emergency, unguarded
  tenant            TEXT NOT NULL,
  account           TEXT NOT NULL,
  source            TEXT NOT NULL,
  trunk             TEXT NOT NULL,
  number            TEXT NOT NULL,
  destination       TEXT,
  prefix            TEXT,
  per_minute        INTEGER,
  connect_fee       INTEGER,
  minimum_seconds   INTEGER,
  increment_seconds INTEGER,
  lease_seconds     INTEGER,
  state             TEXT NOT NULL CHECK (state IN ('ringing', 'up', 'ended')),
  began_at          INTEGER NOT NULL,
  answered_at       INTEGER,
  ended_at          INTEGER,
  seconds           INTEGER,  -- billable, once ended; 0 when never answered
  cost              INTEGER,  -- once ended; NULL without a price
  cause             INTEGER,  -- Asterisk's hangup cause
  cdr_seconds       INTEGER,  -- what Asterisk's own records say
  reconstructed     INTEGER NOT NULL CHECK (reconstructed IN (0, 1)),  -- answer or end were not seen as they happened
  CHECK ((state = 'ended') = (ended_at IS NOT NULL)),
  PRIMARY KEY (asterisk, uniqueid)
) STRICT, WITHOUT ROWID;
CREATE INDEX calls_began ON calls (began_at);
CREATE INDEX calls_account ON calls (tenant, account, began_at);
CREATE INDEX calls_live ON calls (began_at) WHERE state <> 'ended';
CREATE INDEX calls_call ON calls (call);

-- Until when each Asterisk was followed: a verdict given after that, by which no call is known, may have been one unseen.
CREATE TABLE followed (
  asterisk TEXT NOT NULL PRIMARY KEY,
  until    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Who connects, from where: one row per account and address.
CREATE TABLE sources (
  asterisk         TEXT NOT NULL,
  account          TEXT NOT NULL,  -- as presented; '' for accounts that do not exist, counted together
  address          TEXT NOT NULL,  -- without a port
  first_at         INTEGER NOT NULL,
  last_at          INTEGER NOT NULL,
  succeeded        INTEGER NOT NULL,
  called           INTEGER NOT NULL,  -- attempts at the guard
  invalid_password INTEGER NOT NULL,
  invalid_account  INTEGER NOT NULL,
  failed_challenge INTEGER NOT NULL,
  failed_acl       INTEGER NOT NULL,
  PRIMARY KEY (asterisk, account, address)
) STRICT, WITHOUT ROWID;
CREATE INDEX sources_last ON sources (last_at);

-- What only one kind of alert has, as a JSON object; and how many of its tries have been handed to the channels.
ALTER TABLE alerts ADD COLUMN details TEXT NOT NULL DEFAULT '{}';
ALTER TABLE alerts ADD COLUMN announced INTEGER NOT NULL DEFAULT 0;
-- The alert in whose messages this one is told, often itself; and for such an alert when it last had something to tell.
ALTER TABLE alerts ADD COLUMN leader INTEGER;
ALTER TABLE alerts ADD COLUMN led_at INTEGER;
CREATE INDEX alerts_unannounced ON alerts (id) WHERE announced < tries;
CREATE INDEX alerts_leading ON alerts (led_at) WHERE led_at IS NOT NULL;
-- Those of a database from before there were deliveries are history: nobody is told of them now.
UPDATE alerts SET announced = tries;

-- The outbox: one row per alert, channel and message. Part 0 is the first message, the others count repeats.
CREATE TABLE deliveries (
  id           INTEGER PRIMARY KEY,
  alert        INTEGER NOT NULL REFERENCES alerts ON DELETE CASCADE,
  channel      TEXT NOT NULL,
  part         INTEGER NOT NULL CHECK (part >= 0),
  tries        INTEGER NOT NULL CHECK (tries >= 1),  -- how many the message tells of
  alerts       INTEGER NOT NULL CHECK (alerts >= 0),  -- how many alerts were new with them
  since        INTEGER NOT NULL,  -- when the first of them was
  until        INTEGER NOT NULL,  -- and the last
  target       TEXT NOT NULL,  -- what their numbers have in common: one, or its beginning and an ellipsis
  origin       TEXT NOT NULL,  -- likewise their source addresses: one, an ellipsis for several, '' for none
  dearest      INTEGER,  -- the highest price per minute among them
  state        TEXT NOT NULL CHECK (state IN ('pending', 'delivered', 'expired')),
  planned_at   INTEGER NOT NULL,  -- when it is to go
  due_at       INTEGER NOT NULL,  -- when it is to be tried next
  expires_at   INTEGER NOT NULL,
  attempts     INTEGER NOT NULL,
  delivered_at INTEGER,
  error        TEXT NOT NULL,
  UNIQUE (alert, channel, part)
) STRICT;
CREATE INDEX deliveries_due ON deliveries (channel, due_at) WHERE state = 'pending';

-- Retention finds what is old without looking at the rest.
CREATE INDEX alerts_acked ON alerts (last_at) WHERE acked_at IS NOT NULL;
