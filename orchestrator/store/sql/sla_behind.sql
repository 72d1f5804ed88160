-- Purpose: which tenants have events that are not counted for their rules, and lock their cursors.
-- Index:   keys of tenant_load and sla_cursor: one row per tenant, nothing else is read when idle.
-- Guard:   a cursor that another process holds (or an edit of a rule) is skipped; the rows stay locked
--          until the samples are written.  Commit order is seq order in a tenant.
SELECT c.tenant_id, c.seq, l.seq
  FROM tenant_load l
  JOIN sla_cursor c ON c.tenant_id = l.tenant_id AND c.seq < l.seq
 ORDER BY c.tenant_id
   FOR NO KEY UPDATE OF c SKIP LOCKED
