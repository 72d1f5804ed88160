-- Purpose: runs that have begun are awaited by the rules that give each run its time.
-- Index:   event_position (one range per tenant), run's key.
-- Input:   `rules` as for counting, with `from_created`: whether their time runs from the acceptance
--          (or from the start that was asked for).
-- Guard:   the tenants' cursors are locked; a run that has ended meanwhile is left out, so that short
--          ones never get a row, and one that ends later has a later event.
INSERT INTO sla_deadline AS d (sla_id, tenant_id, run_id, due_at)
SELECT DISTINCT r.id, r.tenant_id, o.id,
       CASE WHEN r.from_created THEN greatest(o.created_at, o.start_at) ELSE o.started_at END
           + make_interval(secs => r.seconds)
  FROM json_to_recordset(%(rules)s::json) AS r (
       id bigint, tenant_id int, workflow_ids bigint[], labels jsonb, seconds float8, from_created boolean)
  JOIN unnest(%(tenants)s::int[], %(after)s::bigint[], %(upto)s::bigint[]) AS t (tenant_id, after, upto)
       ON t.tenant_id = r.tenant_id
 CROSS JOIN LATERAL (
       SELECT DISTINCT v.run_id FROM event v
        WHERE v.tenant_id = t.tenant_id AND v.seq > t.after AND v.seq <= t.upto
          AND v.type = CASE WHEN r.from_created THEN 'run.queued' ELSE 'run.running' END) e
  CROSS JOIN LATERAL (SELECT x.* FROM run x WHERE x.id = e.run_id AND x.finished_at IS NULL OFFSET 0) o
 WHERE (r.from_created OR o.started_at IS NOT NULL)
   AND (r.workflow_ids = '{}' OR o.workflow_id = ANY (r.workflow_ids))
   AND (r.labels = '{}'::jsonb OR o.labels @> r.labels)
 ORDER BY 1, 3
    ON CONFLICT (sla_id, run_id) DO UPDATE SET due_at = excluded.due_at
