-- Purpose: count a stretch of each tenant's events by workflow, 10 s and type, with their seconds.
-- Index:   event_position (one range per tenant), run's key for the workflow.
-- Input:   parallel arrays: tenant, after seq, up to seq.
-- Returns: tenant, workflow (0: the run is gone, or there is none), bucket (unix seconds), type,
--          how many, sum of their seconds, the seconds themselves where a sketch is made of them.
-- Guard:   the cursors are locked; rows are in commit order without gaps.
SELECT e.tenant_id, coalesce(r.workflow_id, 0),
       (floor(extract(epoch FROM e.at) / 10) * 10)::bigint, e.type,
       count(*), coalesce(sum(e.value_s), 0)::float8,
       array_agg(e.value_s) FILTER (WHERE e.value_s IS NOT NULL AND e.type IN (
           'step.running', 'step.succeeded', 'step.failed', 'step.retrying',
           'run.succeeded', 'run.failed'))
  FROM unnest(%(tenants)s::int[], %(after)s::bigint[], %(upto)s::bigint[]) AS d (tenant_id, after, upto)
 CROSS JOIN LATERAL (
       SELECT v.tenant_id, v.at, v.type, v.run_id, v.value_s FROM event v
        WHERE v.tenant_id = d.tenant_id AND v.seq > d.after AND v.seq <= d.upto
           -- a queued run that is resumed was submitted before
           AND v.data IS DISTINCT FROM '{"resumed":true}') e
  LEFT JOIN run r ON r.id = e.run_id
 GROUP BY 1, 2, 3, 4
