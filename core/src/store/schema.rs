//! The database's shape, as the list of steps that lead to it. A step that was released is never edited.

/// Step n leads from `user_version` n to n + 1.
pub(super) const MIGRATIONS: &[&str] = &[
    // 1: the one row of this installation, acks on their way, and taps whose link was handed out.
    //
    // No message text, phone, email or name is ever stored; a receipt is opaque. `customer_id` and its proof are kept
    // because a registration may have to be repeated when the app is not there to give them again.
    "CREATE TABLE device (
         one INTEGER PRIMARY KEY CHECK (one = 1),
         install_id TEXT NOT NULL,
         -- What the app gave last, and a count of how often it gave something else.
         token TEXT,
         token_provider TEXT,
         token_topic TEXT,
         token_environment TEXT,
         alerts TEXT NOT NULL,
         customer_id TEXT,
         customer_proof_kind TEXT,
         customer_proof TEXT,
         customer_state TEXT NOT NULL,
         given INTEGER NOT NULL,
         -- The count that the server confirmed last, and when.
         confirmed INTEGER,
         confirmed_at_ms INTEGER,
         device_id TEXT,
         device_key TEXT
     ) STRICT;
     -- AUTOINCREMENT: a number is never given twice, so that a late answer cannot meet another ack.
     CREATE TABLE acks (
         id INTEGER PRIMARY KEY AUTOINCREMENT,
         receipt TEXT NOT NULL,
         grade TEXT NOT NULL,
         detail TEXT,
         recorded_at_ms INTEGER NOT NULL,
         UNIQUE (receipt, grade)
     ) STRICT;
     CREATE TABLE taps (
         id INTEGER PRIMARY KEY AUTOINCREMENT,
         receipt TEXT NOT NULL UNIQUE
     ) STRICT;",
];
