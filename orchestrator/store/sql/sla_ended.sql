-- Purpose: runs that have ended are awaited no more.
-- Index:   event_position (one range per tenant), run's key, sla_deadline_run.
-- Guard:   the tenants' cursors are locked: who was awaited is counted in the same transaction.
DELETE FROM sla_deadline d
 USING (SELECT DISTINCT e.tenant_id, e.run_id
          FROM unnest(%(tenants)s::int[], %(after)s::bigint[], %(upto)s::bigint[]) AS t (tenant_id, after, upto)
         CROSS JOIN LATERAL (
               SELECT v.tenant_id, v.run_id FROM event v
                WHERE v.tenant_id = t.tenant_id AND v.seq > t.after AND v.seq <= t.upto
                  AND v.type IN ('run.succeeded', 'run.failed', 'run.cancelled')) e) e
 WHERE d.tenant_id = e.tenant_id AND d.run_id = e.run_id
   AND NOT EXISTS (SELECT 1 FROM run r WHERE r.id = e.run_id AND r.finished_at IS NULL)
