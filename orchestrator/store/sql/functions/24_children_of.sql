-- Purpose: the child runs for which steps of these runs wait (p_ordinals null: all of their steps).
-- Index:   step_run's key.
CREATE OR REPLACE FUNCTION engine_children_of(p_tenant int, p_runs uuid[], p_ordinals int[]) RETURNS uuid[] LANGUAGE plpgsql STABLE
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
BEGIN
    RETURN (
        SELECT coalesce(array_agg(s.child), '{}') FROM unnest(p_runs) AS d (run_id)
         CROSS JOIN LATERAL (
             SELECT o.wait_key::uuid AS child FROM step_run o
              WHERE o.tenant_id = p_tenant AND o.run_id = d.run_id AND o.batch = 0
                AND (p_ordinals IS NULL OR o.ordinal = ANY (p_ordinals))
                AND coalesce(o.state, '') = 'waiting' AND o.wait_reason = 'child'
             OFFSET 0) s);
END
$$;

-- Nobody waits any more for the children of these steps: they are closed.
-- Guard: under the tenant's mutex, before the steps are ended or reset.
CREATE OR REPLACE FUNCTION engine_leave_children(p_tenant int, p_run uuid, p_ordinals int[], p_actor text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v_runs uuid[] := engine_children_of(p_tenant, ARRAY[p_run], p_ordinals);
BEGIN
    IF cardinality(v_runs) > 0 THEN
        PERFORM engine_close(array_fill(p_tenant, ARRAY[cardinality(v_runs)]), v_runs, 'upstream', p_actor, clock_timestamp());
    END IF;
END
$$;
