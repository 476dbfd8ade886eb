-- What a vendor's reports name texts by, where they name nothing else: its own id of each part (SMPP). Nobody is named.
-- Rows go some days after their follow-up began.
CREATE TABLE sent_parts (
    provider TEXT NOT NULL,
    id TEXT NOT NULL,
    workspace INTEGER NOT NULL,
    followup INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    -- How many parts the text has.
    parts INTEGER NOT NULL,
    -- 1 = delivered, 0 = failed, NULL = nothing was reported yet.
    delivered INTEGER,
    PRIMARY KEY (provider, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX sent_parts_followup ON sent_parts (followup);
