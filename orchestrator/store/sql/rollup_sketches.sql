-- Purpose: the sketches of buckets that are about to grow.
-- Index:   rollup's key.  Guard: the tenants' cursors are locked, nobody else writes these rows.
SELECT r.tenant_id, r.workflow_id, r.width_s, extract(epoch FROM r.at)::bigint,
       r.queue_sketch, r.attempt_sketch, r.run_sketch, r.ready_sketch
  FROM unnest(%(tenants)s::int[], %(workflows)s::bigint[], %(widths)s::int[], %(ats)s::bigint[])
       AS d (tenant_id, workflow_id, width_s, at)
  JOIN rollup r ON r.tenant_id = d.tenant_id AND r.workflow_id = d.workflow_id
               AND r.width_s = d.width_s AND r.at = to_timestamp(d.at)
