-- Purpose: how long each step of a workflow usually takes, from its newest runs that succeeded.
-- Index:   run_workflow_newest, step_run's and version_step's keys: at most 20 runs of 500.
-- Guard:   the row of step '' says that it was measured, so that nobody does it again at once.
WITH newest AS MATERIALIZED (
    SELECT f.id FROM (
        SELECT o.id, o.state, o.step_count FROM run o
         WHERE o.tenant_id = %(tenant)s::int AND o.workflow_id = %(workflow)s::bigint
         ORDER BY o.created_at DESC, o.id DESC LIMIT 500) f
     WHERE f.state = 'succeeded' AND f.step_count <= %(most)s::int
     LIMIT 20
), found AS (
    SELECT v.name, extract(epoch FROM s.finished_at - coalesce(s.ready_at, s.started_at)) AS took
      FROM newest n
     CROSS JOIN LATERAL (
           SELECT p.version_id, p.ordinal, p.ready_at, p.started_at, p.finished_at FROM step_run p
            WHERE p.run_id = n.id AND p.tenant_id = %(tenant)s::int AND p.batch = 0 AND p.state = 'succeeded'
           OFFSET 0) s
      JOIN version_step v ON v.version_id = s.version_id AND v.ordinal = s.ordinal
)
INSERT INTO step_norm AS p (workflow_id, tenant_id, step, p50_s, sample_count, measured_at)
SELECT %(workflow)s::bigint, %(tenant)s::int, f.name,
       greatest(percentile_cont(0.5) WITHIN GROUP (ORDER BY f.took), 0), count(*)::int, clock_timestamp()
  FROM found f WHERE f.took IS NOT NULL GROUP BY f.name
 UNION ALL
SELECT %(workflow)s::bigint, %(tenant)s::int, '', NULL, (SELECT count(*)::int FROM newest), clock_timestamp()
    ON CONFLICT (workflow_id, step) DO UPDATE SET
       p50_s = excluded.p50_s, sample_count = excluded.sample_count, measured_at = excluded.measured_at
