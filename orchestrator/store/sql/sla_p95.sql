-- Purpose: a percentile of the newest 1,000 samples of a label's runs within a window.
-- Index:   run_newest, run_workflow_newest or run_labels.
SELECT percentile_cont(%(share)s::float8) WITHIN GROUP (ORDER BY f.took)
  FROM (SELECT extract(epoch FROM o.finished_at
                       - CASE WHEN %(from_created)s::boolean THEN greatest(o.created_at, o.start_at)
                              ELSE o.started_at END) AS took
          FROM run o
         WHERE o.tenant_id = %(tenant)s::int AND o.state IN ('succeeded', 'failed')
           AND o.created_at >= %(since)s::timestamptz AND o.started_at IS NOT NULL
           AND (NOT %(from_created)s::boolean OR o.state = 'succeeded')
           AND (%(workflow_ids)s::bigint[] = '{}' OR o.workflow_id = ANY (%(workflow_ids)s::bigint[]))
           AND (%(labels)s::jsonb = '{}'::jsonb OR o.labels @> %(labels)s::jsonb)
         ORDER BY o.created_at DESC
         LIMIT 1000) f
