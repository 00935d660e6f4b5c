-- Budgets, and what was spent.

-- The most money in a period. NULL in a scope: whoever it is; '*': each has a budget of its own.
CREATE TABLE budgets (
  id         INTEGER PRIMARY KEY,
  tenant     TEXT CHECK (tenant <> ''),
  account    TEXT CHECK (account <> ''),
  pin        TEXT CHECK (pin <> ''),  -- a person's name
  trunk      TEXT CHECK (trunk <> ''),
  region     TEXT CHECK (region <> ''),
  period     TEXT NOT NULL CHECK (period IN ('hour', 'day', 'month')),
  strict     INTEGER NOT NULL CHECK (strict IN (0, 1)),
  amount     INTEGER CHECK (amount >= 0),  -- NULL: no end
  rolling    INTEGER NOT NULL CHECK (rolling IN (0, 1)),
  domestic   INTEGER NOT NULL CHECK (domestic IN (0, 1)),
  author     TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  CHECK (tenant IS NOT NULL OR (account IS NULL AND pin IS NULL))
) STRICT;
CREATE UNIQUE INDEX budgets_scope ON budgets (
  ifnull(tenant, ''), ifnull(account, ''), ifnull(pin, ''), ifnull(trunk, ''), ifnull(region, ''), period, strict
);

-- What ended calls have cost, every 5 minutes by itself: written in the transaction that stores their end.
CREATE TABLE spending (
  until    INTEGER NOT NULL,  -- the end of the 5 minutes
  tenant   TEXT NOT NULL,
  account  TEXT NOT NULL,
  pin      TEXT NOT NULL,  -- a person's name; '' for none
  trunk    TEXT NOT NULL,
  region   TEXT NOT NULL,  -- 001 for none
  domestic INTEGER NOT NULL CHECK (domestic IN (0, 1)),
  amount   INTEGER NOT NULL,
  PRIMARY KEY (until, tenant, account, pin, trunk, region, domestic)
) STRICT, WITHOUT ROWID;

-- Which channel asked: when that one is gone, nothing can be dialled by the verdict any more.
ALTER TABLE attempts ADD COLUMN uniqueid TEXT NOT NULL DEFAULT '';
-- What the ledger knew when it was asked: the budget that has least left, how much, and what was too fast or too many.
ALTER TABLE attempts ADD COLUMN budget TEXT NOT NULL DEFAULT '';
ALTER TABLE attempts ADD COLUMN room INTEGER;
ALTER TABLE attempts ADD COLUMN pressed TEXT NOT NULL DEFAULT '';
ALTER TABLE attempts ADD COLUMN strict INTEGER NOT NULL DEFAULT 0;
-- Where an account has called before: a new country is looked for among these. The condition is that of store/tempo.py.
CREATE INDEX attempts_regions ON attempts (tenant, account, ifnull(region, '001'), at)
  WHERE outcome = 'allow' AND kind NOT IN ('emergency', 'domestic', 'service') AND (kind <> 'toll_free' OR region IS NULL);

-- Who pays for a call, beside tenant, account and trunk; and why it was cut, '' unless it was.
ALTER TABLE calls ADD COLUMN region TEXT NOT NULL DEFAULT '001';
ALTER TABLE calls ADD COLUMN pin TEXT NOT NULL DEFAULT '';
ALTER TABLE calls ADD COLUMN domestic INTEGER NOT NULL DEFAULT 0;
ALTER TABLE calls ADD COLUMN cut TEXT NOT NULL DEFAULT '';
-- Never answered, as far as is known, nor turned down: an answer may have crossed its end. Budgets count the least it costs.
ALTER TABLE calls ADD COLUMN given_up INTEGER NOT NULL DEFAULT 0;

-- For those from before that is what their verdicts say; a fence lets only domestic calls go.
UPDATE calls SET region = asked.region, pin = asked.pin, domestic = asked.domestic
  FROM (
    SELECT max(id), call, ifnull(region, '001') AS region, ifnull(pin, '') AS pin,
      ifnull(kind IN ('domestic', 'service') OR (kind = 'toll_free' AND region IS NOT NULL), 0) AS domestic
    FROM attempts GROUP BY call
  ) AS asked
  WHERE calls.call <> '' AND asked.call = calls.call;
UPDATE calls SET domestic = 1 WHERE why = 'fence';

-- And what they have spent, exactly as ledger.accrual counts it: a call that is stored again is counted by the
-- difference. The steps are the 5 minutes that a call was up in, 62 days of them at most. Nobody asks for older ones.
INSERT INTO spending
  WITH RECURSIVE
    paid AS (
      SELECT *, (max(0, ended_at - answered_at) + 999) / 1000 AS whole,
        (ended_at + 299999) / 300000 * 300000 AS last
      FROM calls WHERE state = 'ended' AND answered_at IS NOT NULL AND per_minute IS NOT NULL
        AND ended_at > (SELECT max(ended_at) FROM calls) - 62 * 86400000
    ),
    steps AS (
      SELECT asterisk, uniqueid, tenant, account, pin, trunk, region, domestic, per_minute, connect_fee, answered_at,
        ifnull(minimum_seconds, 0) AS minimum, ifnull(increment_seconds, 60) AS increment,
        max(whole, ifnull(min(whole + 1, lease_seconds + 2), 0)) AS whole, last,
        max((min(answered_at, ended_at) + 299999) / 300000 * 300000, last - 62 * 86400000) AS until
      FROM paid
      UNION ALL
      SELECT asterisk, uniqueid, tenant, account, pin, trunk, region, domestic, per_minute, connect_fee, answered_at,
        minimum, increment, whole, last, until + 300000
      FROM steps WHERE until < last
    ),
    talked AS (
      SELECT *, CASE until WHEN last THEN whole ELSE (until - answered_at + 999) / 1000 END AS seconds FROM steps
    ),
    billed AS (
      SELECT *, max(minimum, (seconds + increment - 1) / increment * increment) AS length FROM talked
    ),
    cost AS (
      -- Multiplied in two parts, as the whole may be more than 64 bits hold.
      SELECT *, connect_fee + per_minute / 60 * length + (per_minute % 60 * length + 59) / 60 AS by_then FROM billed
    ),
    steps_cost AS (
      SELECT *, by_then - lag(by_then, 1, 0) OVER (PARTITION BY asterisk, uniqueid ORDER BY until) AS amount FROM cost
    )
  SELECT until, tenant, account, pin, trunk, region, domestic, sum(amount) FROM steps_cost
  WHERE amount <> 0 GROUP BY 1, 2, 3, 4, 5, 6, 7;
