-- Purpose: which tenants have events that are not counted yet, and lock their cursors.
-- Index:   keys of tenant_load and rollup_cursor: one row per tenant, nothing else is read when idle.
-- Guard:   a cursor that another process holds is skipped; the rows stay locked until the buckets
--          are written.  Commit order is seq order in a tenant, so everything up to the seq that
--          tenant_load shows is there to read in a later statement.
-- Canary:  what the server's own tenant does is nobody else's either.
SELECT c.tenant_id, c.seq, l.seq, c.own OR t.is_system IS TRUE
  FROM tenant_load l
  JOIN rollup_cursor c ON c.tenant_id = l.tenant_id AND c.seq < l.seq
  LEFT JOIN tenant t ON t.id = l.tenant_id
 ORDER BY c.tenant_id
   FOR NO KEY UPDATE OF c SKIP LOCKED
