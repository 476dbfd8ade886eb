-- Email as the company's own: its domain, one a workspace, and its templates, one a language.
CREATE TABLE mail_domains (
    workspace     INTEGER PRIMARY KEY,
    -- JSON of the rules' MailDomain: names and public keys.
    state         TEXT NOT NULL,
    -- JSON selector -> PKCS#8, sealed by the vault.
    secrets       BLOB NOT NULL,
    next_check_at INTEGER NOT NULL,
    created_at    INTEGER NOT NULL
) STRICT;
CREATE INDEX mail_domains_next ON mail_domains (next_check_at);

CREATE TABLE email_templates (
    workspace  INTEGER NOT NULL,
    locale     TEXT NOT NULL,
    subject    TEXT NOT NULL,
    mjml       TEXT NOT NULL,
    text       TEXT,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (workspace, locale)
) STRICT, WITHOUT ROWID;
