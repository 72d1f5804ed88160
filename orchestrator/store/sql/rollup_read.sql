-- Purpose: count a stretch of each tenant's events by workflow, 10 s and type, with their seconds.
-- Index:   event_position (one range per tenant), run's key for the workflow.
-- Input:   parallel arrays: tenant, after seq, up to seq.
-- Returns: tenant, workflow (0: the run is gone, or there is none), bucket (unix seconds), type, whether
--          an attempt or a run took too long, how many, sum of their seconds, the seconds themselves
--          where a sketch is made of them, and how long what waited for these ends took to be ready.
-- Guard:   the cursors are locked; rows are in commit order without gaps.
SELECT e.tenant_id, coalesce(r.workflow_id, 0),
       (floor(extract(epoch FROM e.at) / 10) * 10)::bigint, e.type, e.late,
       count(*), coalesce(sum(e.value_s), 0)::float8,
       array_agg(e.value_s) FILTER (WHERE e.value_s IS NOT NULL AND e.type IN (
           'step.running', 'step.succeeded', 'step.failed', 'step.retrying',
           'run.succeeded', 'run.failed')),
       array_agg(e.lag_s) FILTER (WHERE e.lag_s IS NOT NULL AND e.batch = 0 AND e.type IN (
           'step.succeeded', 'step.failed', 'step.skipped'))
  FROM unnest(%(tenants)s::int[], %(after)s::bigint[], %(upto)s::bigint[]) AS d (tenant_id, after, upto)
 CROSS JOIN LATERAL (
       SELECT v.tenant_id, v.at, v.run_id, v.batch, v.value_s, v.lag_s,
              -- a queued run that is resumed or retried was submitted before
              CASE WHEN v.data IN ('{"resumed":true}', '{"retried":true}') AND v.type = 'run.queued'
                   THEN 'run.again' ELSE v.type END AS type,
              -- an error's code comes first in it; of steps, only what ended in a worker is an attempt
              CASE WHEN v.data IS NULL THEN false
                   WHEN v.type = 'run.failed' THEN left(v.data, 40) ~ '^{"code" ?: ?"(run_timeout|deadline)"'
                   WHEN v.worker_id IS NOT NULL AND v.type IN ('step.succeeded', 'step.failed', 'step.retrying')
                   THEN left(v.data, 40) ~ '^{"code" ?: ?"(heartbeat_)?timeout"'
                   ELSE false END AS late
         FROM event v
        WHERE v.tenant_id = d.tenant_id AND v.seq > d.after AND v.seq <= d.upto) e
  LEFT JOIN run r ON r.id = e.run_id
 GROUP BY 1, 2, 3, 4, 5
