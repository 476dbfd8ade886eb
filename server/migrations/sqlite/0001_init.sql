-- The first schema.
--
-- Keys that we give are integers that grow with time, so that new rows land on the same few pages; caller ids are
-- indexed as they are given. STRICT: a wrong type is an error here and not a surprise later. No foreign keys among
-- the large tables: each would cost a look-up per row, and the writer checks the workspace once per transaction.

-- What this file is. One row.
CREATE TABLE meta (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    -- Tells the data key that everything is sealed with; says nothing about it.
    vault_check BLOB NOT NULL,
    -- 1 = sandbox: providers are captured, clocks can be turned. Never changes.
    sandbox INTEGER NOT NULL CHECK (sandbox IN (0, 1)),
    -- Written by the health check.
    probe INTEGER NOT NULL DEFAULT 0
) STRICT;

-- AUTOINCREMENT: the id of a dropped workspace is never given again, since it is part of what seals are bound to.
CREATE TABLE workspaces (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    -- JSON array of hexadecimal texts, each sealed.
    identity_secrets TEXT NOT NULL,
    -- JSON array of PEM texts.
    trusted_keys TEXT NOT NULL,
    settings TEXT NOT NULL,
    -- Its own clock, once frozen. NULL = real time.
    frozen_at INTEGER,
    created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE keys (
    -- SHA-256 of the key.
    hash BLOB PRIMARY KEY,
    workspace INTEGER NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    scope TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    revoked_at INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX keys_workspace ON keys (workspace);

CREATE TABLE customers (
    workspace INTEGER NOT NULL,
    customer_id TEXT NOT NULL,
    version INTEGER NOT NULL,
    has_phone INTEGER NOT NULL,
    has_email INTEGER NOT NULL,
    contact_source TEXT NOT NULL,
    engaged_at INTEGER,
    created_at INTEGER NOT NULL,
    locale TEXT,
    time_zone TEXT,
    -- JSON array of device ids.
    devices TEXT NOT NULL,
    -- The customer's key, wrapped. Gone = everything sealed under it is shredded.
    wrapped_key BLOB NOT NULL,
    contact BLOB,
    -- JSON.
    presence TEXT NOT NULL,
    PRIMARY KEY (workspace, customer_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE conversations (
    workspace INTEGER NOT NULL,
    conversation_id TEXT NOT NULL,
    customer_id TEXT NOT NULL,
    version INTEGER NOT NULL,
    next_seq INTEGER NOT NULL,
    wrote_at INTEGER,
    left_at INTEGER,
    -- JSON array of follow-up ids.
    open TEXT NOT NULL,
    PRIMARY KEY (workspace, conversation_id, customer_id)
) STRICT, WITHOUT ROWID;
-- For erasing; written once per conversation.
CREATE INDEX conversations_customer ON conversations (workspace, customer_id);

CREATE TABLE messages (
    row INTEGER PRIMARY KEY,
    workspace INTEGER NOT NULL,
    message_id TEXT NOT NULL,
    version INTEGER NOT NULL,
    -- Empty once the customer was erased; so is the conversation.
    customer_id TEXT NOT NULL,
    conversation_id TEXT NOT NULL,
    seq INTEGER NOT NULL,
    direction TEXT NOT NULL,
    accepted_at INTEGER NOT NULL,
    followup INTEGER,
    -- SHA-256 of the request.
    body_hash BLOB NOT NULL,
    answer TEXT NOT NULL,
    -- Sealed under the customer's key. NULL = withdrawn, erased or past its retention.
    body BLOB
) STRICT;
CREATE UNIQUE INDEX messages_id ON messages (workspace, message_id);
-- A customer's messages are found through the customer's follow-ups, whose ids grow with time; an index by customer
-- would touch a page of its own for each message. Only messages without a follow-up need one: the customer's own.
CREATE INDEX messages_followup ON messages (followup) WHERE followup IS NOT NULL;
CREATE INDEX messages_customer ON messages (workspace, customer_id) WHERE followup IS NULL;
-- For retention.
CREATE INDEX messages_texts ON messages (accepted_at) WHERE body IS NOT NULL;

CREATE TABLE followups (
    id INTEGER PRIMARY KEY,
    workspace INTEGER NOT NULL,
    version INTEGER NOT NULL,
    -- Whose clock its wake-up runs on: 0 = real time, else the workspace whose clock is frozen.
    lane INTEGER NOT NULL,
    wake_at INTEGER,
    wake_why INTEGER,
    -- State as the API shows it; NULL = it watches and is in no list.
    public TEXT,
    -- Empty once the customer was erased; so is the conversation.
    customer_id TEXT NOT NULL,
    conversation_id TEXT NOT NULL,
    -- Everything the rules know of it, JSON.
    state TEXT NOT NULL,
    CHECK ((wake_at IS NULL) = (wake_why IS NULL))
) STRICT;
-- The timer's index: deadline, retry, claim expiry, everything. It holds all that the timer asks for.
CREATE INDEX followups_wake ON followups (lane, wake_at, id, workspace, wake_why) WHERE wake_at IS NOT NULL;
CREATE INDEX followups_workspace ON followups (workspace);
CREATE INDEX followups_customer ON followups (workspace, customer_id);
-- What an operator looks for among many that went well.
-- (Not IN: the planner would not see that `public = 'failed'` is covered.)
CREATE INDEX followups_notable ON followups (workspace, public)
    WHERE public = 'fell_back' OR public = 'cancelled' OR public = 'failed';

-- One row per decision, beside the others of its follow-up.
CREATE TABLE history (
    followup INTEGER NOT NULL,
    n INTEGER NOT NULL,
    workspace INTEGER NOT NULL,
    at INTEGER NOT NULL,
    event TEXT NOT NULL,
    decision TEXT NOT NULL,
    why TEXT NOT NULL,
    PRIMARY KEY (followup, n)
) STRICT, WITHOUT ROWID;

CREATE TABLE devices (
    id INTEGER PRIMARY KEY,
    workspace INTEGER NOT NULL,
    version INTEGER NOT NULL,
    install_id TEXT NOT NULL,
    customer_id TEXT,
    platform TEXT NOT NULL,
    provider TEXT NOT NULL,
    -- Sealed.
    token BLOB NOT NULL,
    token_hash BLOB NOT NULL,
    topic TEXT,
    environment TEXT,
    alerts TEXT NOT NULL,
    -- JSON array of payload versions.
    wire TEXT NOT NULL,
    locale TEXT,
    -- When the provider said so; NULL = registered.
    token_gone_at INTEGER,
    registered_at INTEGER NOT NULL,
    confirmed_at INTEGER NOT NULL,
    used_at INTEGER NOT NULL,
    -- JSON array of times.
    counted_acks TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX devices_install ON devices (workspace, install_id);
CREATE UNIQUE INDEX devices_token ON devices (workspace, token_hash);
CREATE INDEX devices_customer ON devices (workspace, customer_id) WHERE customer_id IS NOT NULL;

-- Answers to repeated idempotency keys.
CREATE TABLE answers (
    workspace INTEGER NOT NULL,
    key TEXT NOT NULL,
    at INTEGER NOT NULL,
    request_hash BLOB NOT NULL,
    status INTEGER NOT NULL,
    -- Sealed.
    body BLOB NOT NULL,
    PRIMARY KEY (workspace, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX answers_at ON answers (at);
