-- Purpose: steps that waited for a place under their run's `max_parallel` become claimable again.
-- Guard:   under the tenants' mutexes.  Index: step_run_parked.
CREATE OR REPLACE FUNCTION engine_unpark(p_tenants int[], p_runs uuid[]) RETURNS void LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
BEGIN
    WITH freed AS (
        UPDATE step_run s SET parked = NULL
          FROM (SELECT DISTINCT * FROM unnest(p_tenants, p_runs) AS d (tenant_id, run_id)) d
          CROSS JOIN LATERAL (
              SELECT r.max_parallel, r.active_count FROM run r
               WHERE r.id = d.run_id AND r.max_parallel > r.active_count OFFSET 0) r
          CROSS JOIN LATERAL (
              SELECT p.ctid AS tid FROM step_run p
               WHERE p.tenant_id = d.tenant_id AND p.run_id = d.run_id
                 AND p.state = 'ready' AND p.parked IS NOT NULL AND p.parked = 'max_parallel'
               ORDER BY p.rank LIMIT r.max_parallel - r.active_count) p
         WHERE s.ctid = p.tid
        RETURNING s.tenant_id
    )
    UPDATE tenant_load l SET ready_count = l.ready_count + g.n
      FROM (SELECT tenant_id, count(*) AS n FROM freed GROUP BY tenant_id) g
     CROSS JOIN LATERAL (SELECT o.ctid AS tid FROM tenant_load o WHERE o.tenant_id = g.tenant_id OFFSET 0) o
     WHERE l.ctid = o.tid;
END
$$;
