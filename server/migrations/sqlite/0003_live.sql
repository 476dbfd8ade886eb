-- What a live deployment adds: settings with versions, an audit log.

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
