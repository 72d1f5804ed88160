-- Purpose: since when runs that go on are late, for a rule that gives each run its time.
-- Index:   run_state_newest.
SELECT (ceil((extract(epoch FROM t.begun_at) + %(seconds)s::float8) / 60) * 60)::bigint, count(*)
  FROM run o
 CROSS JOIN LATERAL (
       SELECT CASE WHEN %(from_created)s::boolean THEN greatest(o.created_at, o.start_at)
                   ELSE o.started_at END) AS t (begun_at)
 WHERE o.tenant_id = %(tenant)s::int AND o.state IN ('queued', 'running', 'paused')
   AND t.begun_at < clock_timestamp() - make_interval(secs => %(seconds)s::float8)
   AND (%(workflow_ids)s::bigint[] = '{}' OR o.workflow_id = ANY (%(workflow_ids)s::bigint[]))
   AND (%(labels)s::jsonb = '{}'::jsonb OR o.labels @> %(labels)s::jsonb)
 GROUP BY 1
 LIMIT %(most)s::int
