-- Purpose: when runs that have ended were late already, for a rule that gives each run its time.
-- Index:   event_position, run's key.
-- Returns: from when to when (unix seconds, whole minutes: up to the end of that in which the run
--          ended, when it counts as a sample), how many.
SELECT (ceil((extract(epoch FROM t.begun_at) + %(seconds)s::float8) / 60) * 60)::bigint,
       (floor(extract(epoch FROM v.at) / 60) * 60)::bigint + 60, count(*)
  FROM event v
  JOIN run o ON o.id = v.run_id
 CROSS JOIN LATERAL (
       SELECT CASE WHEN %(from_created)s::boolean THEN greatest(o.created_at, o.start_at)
                   ELSE v.at - make_interval(secs => v.value_s) END) AS t (begun_at)
 WHERE v.tenant_id = %(tenant)s::int AND v.seq > %(after)s::bigint AND v.seq <= %(upto)s::bigint
   AND v.type IN ('run.succeeded', 'run.failed', 'run.cancelled')
   AND extract(epoch FROM v.at - t.begun_at) > %(seconds)s::float8 + 60
   AND (%(workflow_ids)s::bigint[] = '{}' OR o.workflow_id = ANY (%(workflow_ids)s::bigint[]))
   AND (%(labels)s::jsonb = '{}'::jsonb OR o.labels @> %(labels)s::jsonb)
 GROUP BY 1, 2
 LIMIT %(most)s::int
