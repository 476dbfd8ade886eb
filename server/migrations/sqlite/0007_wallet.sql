-- What texts are paid from. Nothing here names a person: a follow-up's id at most, which says nothing once it is erased.

-- One row a workspace, written beside the entries that tell of its changes.
CREATE TABLE wallets (
    workspace INTEGER PRIMARY KEY,
    version INTEGER NOT NULL,
    -- ISO 4217: must be the price list's.
    currency TEXT NOT NULL,
    -- Balances, grants, and whether the billing system is being asked, JSON.
    state TEXT NOT NULL,
    -- When it is asked next, by the real clock. NULL = there is nothing to ask.
    ask_due_at INTEGER
) STRICT;
CREATE INDEX wallets_asking ON wallets (ask_due_at) WHERE ask_due_at IS NOT NULL;

-- Each move of money, out of one account and into another. Only added to; goes with its workspace.
CREATE TABLE ledger (
    workspace INTEGER NOT NULL,
    -- From 1, without a gap.
    seq INTEGER NOT NULL,
    at INTEGER NOT NULL,
    kind TEXT NOT NULL,
    debit TEXT NOT NULL,
    credit TEXT NOT NULL,
    amount_micros INTEGER NOT NULL CHECK (amount_micros >= 0),
    -- The entry that gave the grant it is about.
    grant_seq INTEGER,
    -- What was paid for: NULL where nothing was.
    followup INTEGER,
    what TEXT,
    -- Empty = of no country.
    country TEXT,
    attempt INTEGER,
    parts INTEGER,
    -- Of all parts; more than the amount where several sources paid.
    price_micros INTEGER,
    pu_milli INTEGER,
    PRIMARY KEY (workspace, seq)
) STRICT, WITHOUT ROWID;
CREATE TRIGGER ledger_stays BEFORE UPDATE ON ledger
BEGIN SELECT RAISE(ABORT, 'the ledger is only added to'); END;
CREATE TRIGGER ledger_goes_with_its_workspace BEFORE DELETE ON ledger
WHEN EXISTS (SELECT 1 FROM workspaces WHERE id = OLD.workspace)
BEGIN SELECT RAISE(ABORT, 'the ledger is only added to'); END;

-- Captures without refunds, added up as they are written: a month of entries is too many to add up at each question.
CREATE TABLE usage_months (
    workspace INTEGER NOT NULL,
    -- Months since the year 0.
    month INTEGER NOT NULL,
    what TEXT NOT NULL,
    country TEXT NOT NULL,
    texts INTEGER NOT NULL,
    parts INTEGER NOT NULL,
    pu_milli INTEGER NOT NULL,
    micros INTEGER NOT NULL,
    PRIMARY KEY (workspace, month, what, country)
) STRICT, WITHOUT ROWID;

-- Payments by the caller's id, so that each is added once.
CREATE TABLE top_ups (
    workspace INTEGER NOT NULL,
    top_up_id TEXT NOT NULL,
    version INTEGER NOT NULL,
    at INTEGER NOT NULL,
    amount_micros INTEGER NOT NULL,
    -- The question to the billing system that it answered.
    ask INTEGER,
    -- Its entry.
    seq INTEGER NOT NULL,
    PRIMARY KEY (workspace, top_up_id)
) STRICT, WITHOUT ROWID;
