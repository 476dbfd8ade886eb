-- What a live deployment adds: settings with versions, an audit log, apps, numbers that opted out, short links, counters of texts.

-- Grows with each change of a workspace's row: what is replaced must be what was read.
ALTER TABLE workspaces ADD COLUMN version INTEGER NOT NULL DEFAULT 1;
-- JSON: version of the settings, when and by whom they were set. NULL = as they were when the workspace was made.
ALTER TABLE workspaces ADD COLUMN settings_set TEXT;

-- Who changed what. Only added to; goes with its workspace.
CREATE TABLE audit (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    workspace INTEGER NOT NULL,
    at INTEGER NOT NULL,
    kind TEXT NOT NULL,
    -- JSON: by what means, by whose key, and the caller's word for who.
    who TEXT NOT NULL,
    -- JSON: more of it. Neither secrets nor personal data.
    detail TEXT NOT NULL
) STRICT;
CREATE INDEX audit_workspace ON audit (workspace, id);
CREATE INDEX audit_kind ON audit (workspace, kind, id);
CREATE TRIGGER audit_stays BEFORE UPDATE ON audit
BEGIN SELECT RAISE(ABORT, 'the audit log is only added to'); END;
CREATE TRIGGER audit_goes_with_its_workspace BEFORE DELETE ON audit
WHEN EXISTS (SELECT 1 FROM workspaces WHERE id = OLD.workspace)
BEGIN SELECT RAISE(ABORT, 'the audit log is only added to'); END;

-- Mobile apps with their push credentials. Changes grow the version of the workspace's row.
CREATE TABLE apps (
    workspace INTEGER NOT NULL,
    app_id TEXT NOT NULL,
    -- JSON: identifiers, and what may be shown of the keys.
    config TEXT NOT NULL,
    -- The keys, sealed.
    credentials BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (workspace, app_id)
) STRICT, WITHOUT ROWID;

-- Numbers that opted out of a workspace's texts. A row stays when that is lifted: the number may opt out again.
CREATE TABLE suppressions (
    id INTEGER PRIMARY KEY,
    workspace INTEGER NOT NULL,
    version INTEGER NOT NULL,
    -- Keyed hash of the number, to find it by.
    number_hash BLOB NOT NULL,
    -- Sealed.
    number BLOB NOT NULL,
    source TEXT NOT NULL,
    at INTEGER NOT NULL,
    -- NULL = no text leaves.
    lifted_at INTEGER
) STRICT;
CREATE UNIQUE INDEX suppressions_number ON suppressions (workspace, number_hash);

-- Who texted which number from which number of the account, and when last: whom a STOP is for. Forgotten after a while.
CREATE TABLE texted (
    number_hash BLOB NOT NULL,
    -- Of the account, not of a person. Empty = the account picked one.
    sender TEXT NOT NULL,
    workspace INTEGER NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (number_hash, sender, workspace)
) STRICT, WITHOUT ROWID;
CREATE INDEX texted_at ON texted (at);

-- When a text first left or may have. NULL = none did since this column is there.
ALTER TABLE conversations ADD COLUMN texted_at INTEGER;

-- Short links of texts. The key begins with the time, since a hash alone would touch a page of its own for each.
CREATE TABLE links (
    -- Seconds, by the real clock.
    made_at_s INTEGER NOT NULL,
    -- The first half of the SHA-256 of the code, which itself is nowhere but in the text.
    hash BLOB NOT NULL,
    workspace INTEGER NOT NULL,
    version INTEGER NOT NULL,
    followup INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    -- NULL = its log-in is still good.
    login_used_at INTEGER,
    PRIMARY KEY (made_at_s, hash)
) STRICT, WITHOUT ROWID;

-- How many texts left, by number, prefix, customer, conversation and workspace: changed by the commits that claim them.
CREATE TABLE counters (
    workspace INTEGER NOT NULL,
    -- What it counts by; see scope_code in codec.rs.
    scope INTEGER NOT NULL,
    -- Keyed hash of what it counts.
    key BLOB NOT NULL,
    version INTEGER NOT NULL,
    -- The newest hour with a text since 1970, its texts, and the highest alarm in percent; so for the day.
    hour INTEGER NOT NULL,
    in_hour INTEGER NOT NULL,
    rang_in_hour INTEGER NOT NULL,
    day INTEGER NOT NULL,
    in_day INTEGER NOT NULL,
    rang_in_day INTEGER NOT NULL,
    PRIMARY KEY (workspace, scope, key)
) STRICT, WITHOUT ROWID;
-- For retention: they go when their day is over.
CREATE INDEX counters_day ON counters (day);
