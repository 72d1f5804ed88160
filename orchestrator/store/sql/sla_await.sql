-- Purpose: every run that goes on is awaited by one rule: after it was made or edited.
-- Index:   run_state_newest.
-- Guard:   the tenant's cursor is locked.
INSERT INTO sla_deadline AS d (sla_id, tenant_id, run_id, due_at)
SELECT %(sla)s::bigint, o.tenant_id, o.id,
       CASE WHEN %(from_created)s::boolean THEN greatest(o.created_at, o.start_at) ELSE o.started_at END
           + make_interval(secs => %(seconds)s::float8)
  FROM run o
 WHERE o.tenant_id = %(tenant)s::int AND o.state IN ('queued', 'running', 'paused')
   AND (%(from_created)s::boolean OR o.started_at IS NOT NULL)
   AND (%(workflow_ids)s::bigint[] = '{}' OR o.workflow_id = ANY (%(workflow_ids)s::bigint[]))
   AND (%(labels)s::jsonb = '{}'::jsonb OR o.labels @> %(labels)s::jsonb)
 ORDER BY o.id
    ON CONFLICT (sla_id, run_id) DO UPDATE SET due_at = excluded.due_at, predicted_at = NULL, expected_at = NULL
