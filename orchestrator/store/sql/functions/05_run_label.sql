-- Purpose: the labels of runs, to search by.  Row-level security would let no index be used for that: what
--          `@>` does is not known to keep secrets, so it may only see rows that a policy has let through.
-- Guard:   a view reads as its owner, past the policies, so it holds the fence's condition itself: of a
--          request's role, the rows of its tenant alone.
-- Index:   run_labels.
CREATE OR REPLACE VIEW run_label AS
    SELECT r.tenant_id, r.id, r.labels FROM run r
     WHERE CASE WHEN r.tenant_id = (SELECT nullif(current_setting('millrace.tenant', true), '')::int) THEN true
                ELSE current_user NOT LIKE 'millrace\_%\_app' END;
