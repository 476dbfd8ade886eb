-- A customer's follow-ups without an index of theirs.
--
-- The index by customer cost a page of its own for each follow-up, since customers come in no order: a third of what
-- a create wrote. Instead each follow-up names the one before it in its conversation, and the conversation, whose page
-- is written with every message anyway, names its newest.

-- The follow-up that was made last. NULL = none since this column is there.
ALTER TABLE conversations ADD COLUMN newest INTEGER;
-- The one made before it in its conversation; 0 = there is none. NULL = not in a trail: those are in the index below,
-- all that were there before this column among them.
ALTER TABLE followups ADD COLUMN prev INTEGER;
DROP INDEX followups_customer;
CREATE INDEX followups_loose ON followups (workspace, customer_id) WHERE prev IS NULL;
