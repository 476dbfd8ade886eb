-- What customers write back by mail and text, addresses that mail does not go to, and whose text an answer answers.

-- What is not sent there: text, alimtalk, line or email. The hash is of channel and number, or address.
ALTER TABLE suppressions ADD COLUMN channel TEXT NOT NULL DEFAULT 'text';
-- Mails to the address that failed, while they do not mark it yet. 0 = in force, unless lifted_at says otherwise.
ALTER TABLE suppressions ADD COLUMN strikes INTEGER NOT NULL DEFAULT 0;

-- The follow-up whose text it was: an answer goes on where it came from. NULL = from before this column.
ALTER TABLE texted ADD COLUMN followup INTEGER;

-- Answers by mail and text, in the order of their coming. Who wrote what is in the message alone.
CREATE TABLE inbound (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    workspace INTEGER NOT NULL,
    message_id TEXT NOT NULL,
    -- The way it came: email, sms or line.
    channel TEXT NOT NULL,
    -- The follow-up that it answers.
    followup INTEGER,
    -- 1 = by mail, and not from the customer's own address.
    from_other INTEGER NOT NULL
) STRICT;
CREATE INDEX inbound_workspace ON inbound (workspace, id);
