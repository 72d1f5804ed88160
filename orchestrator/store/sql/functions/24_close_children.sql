-- Purpose: close the child runs for which steps of these runs wait; those of `always` steps only when asked.
-- Guard:   under the tenants' mutexes.  The steps end when their children have.
CREATE OR REPLACE FUNCTION engine_close_children(
    p_tenants int[], p_runs uuid[], p_always boolean, p_actor text, p_now timestamptz
) RETURNS void LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    v_tenants int[];
    v_runs uuid[];
BEGIN
    SELECT array_agg(d.tenant_id), array_agg(s.child) INTO v_tenants, v_runs
      FROM unnest(p_tenants, p_runs) AS d (tenant_id, run_id)
      CROSS JOIN LATERAL (
          SELECT o.wait_key::uuid AS child FROM step_run o
           WHERE o.tenant_id = d.tenant_id AND o.run_id = d.run_id AND (p_always OR o.rule <> 'always')
             AND coalesce(o.state, '') = 'waiting' AND o.wait_reason = 'child'
          OFFSET 0) s;
    IF v_runs IS NOT NULL THEN
        PERFORM engine_close(v_tenants, v_runs, 'upstream', p_actor, p_now);
    END IF;
END
$$;
