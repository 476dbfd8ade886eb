-- What a customer agreed to, since when contact data is what it is, and what decisions were made on.

-- JSON: purpose, wording, when, where, and when it was withdrawn; oldest first.
ALTER TABLE customers ADD COLUMN consents TEXT NOT NULL DEFAULT '[]';
-- When the contact data last changed. 0 = not since this column is there.
ALTER TABLE customers ADD COLUMN contact_at INTEGER NOT NULL DEFAULT 0;
-- JSON: event, facts and settings' version of the decision, for a replay. NULL = from before this column, or erased.
ALTER TABLE history ADD COLUMN inputs TEXT;
