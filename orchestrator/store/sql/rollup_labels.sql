-- Purpose: the tenants with the most attempts in the last day have labels of their own in metrics.
-- Index:   rollup's key: at most 25 hours of each tenant; a row per tenant of rollup_cursor.
-- Canary:  the server's own tenant has none; nor has one that is called `other`, as all others are.
-- Input:   how many may have one.  Who has one already keeps it unless another did a tenth more, so
--          that labels do not change to and fro.
-- Guard:   a cursor that is being moved is left for the next time.
UPDATE rollup_cursor c SET own = d.busy
  FROM (SELECT l.tenant_id, l.own, l.tenant_id IN (
                   SELECT b.tenant_id FROM rollup_cursor b
                    CROSS JOIN LATERAL (
                        SELECT coalesce(sum(r.attempts), 0) AS attempts FROM rollup r
                         WHERE r.tenant_id = b.tenant_id AND r.workflow_id = 0 AND r.width_s = 3600
                           AND r.at > clock_timestamp() - interval '25 hours') h
                    WHERE b.tenant_id > 0 AND NOT EXISTS (SELECT 1 FROM tenant t WHERE t.id = b.tenant_id AND (t.is_system OR t.slug = 'other'))
                    ORDER BY h.attempts * CASE WHEN b.own THEN 1.1 ELSE 1 END DESC, b.own DESC, b.tenant_id
                    LIMIT %(labels)s::int) AS busy
          FROM rollup_cursor l WHERE l.tenant_id > 0
           FOR NO KEY UPDATE OF l SKIP LOCKED) d
 WHERE c.tenant_id = d.tenant_id AND d.own <> d.busy
