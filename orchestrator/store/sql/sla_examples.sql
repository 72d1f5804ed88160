-- Purpose: runs that were bad for a rule within some time, newest first.
-- Index:   run_newest, run_workflow_newest or run_labels, within the time that runs were accepted in.
SELECT o.id
  FROM run o
 WHERE o.tenant_id = %(tenant)s::int
   AND o.created_at >= %(since)s::timestamptz AND o.created_at < %(until)s::timestamptz
   AND (%(workflow_ids)s::bigint[] = '{}' OR o.workflow_id = ANY (%(workflow_ids)s::bigint[]))
   AND (%(labels)s::jsonb = '{}'::jsonb OR o.labels @> %(labels)s::jsonb)
   AND CASE %(measure)s::text
       WHEN 'outcome' THEN o.state = 'failed'
       WHEN 'run' THEN o.started_at IS NOT NULL AND o.state <> 'cancelled'
           AND coalesce(o.finished_at, clock_timestamp()) - o.started_at > make_interval(secs => %(seconds)s::float8)
       WHEN 'fresh' THEN o.state <> 'cancelled' AND (o.state = 'failed'
           OR coalesce(o.finished_at, clock_timestamp()) - greatest(o.created_at, o.start_at)
               > make_interval(secs => %(seconds)s::float8))
       WHEN 'queue' THEN EXISTS (
           SELECT 1 FROM step_run p
            WHERE p.tenant_id = o.tenant_id AND p.run_id = o.id
              AND coalesce(p.started_at, clock_timestamp()) - p.ready_at > make_interval(secs => %(seconds)s::float8))
       ELSE false END
 ORDER BY o.created_at DESC, o.id DESC
 LIMIT %(most)s::int
