-- Purpose: runs that others wait for have ended: a parent's step gets its child's outcome, a place
--          among the runs of a key goes to the next.
-- Guard:   under the tenants' mutexes, which child and parent share.
CREATE OR REPLACE FUNCTION engine_finished(p_tenants int[], p_runs uuid[], p_now timestamptz)
RETURNS void LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    v_tenants int[];
    v_parents uuid[];
    v_ordinals int[];
    v_children text[];
    v_outputs text[];
    v_errors text[];
    v_workflows bigint[];
    v_keys text[];
BEGIN
    SELECT array_agg(r.tenant_id), array_agg(r.parent_id), array_agg(r.parent_ordinal), array_agg(r.id::text),
           array_agg(CASE WHEN r.state = 'succeeded' THEN
               engine_adopt(coalesce(r.output, 'null'), r.tenant_id, r.parent_id, NULL) END),
           array_agg(CASE WHEN r.state <> 'succeeded' THEN json_build_object(
               'code', 'upstream',
               'message', CASE r.state WHEN 'cancelled' THEN 'Its child run was cancelled: '
                                       ELSE 'Its child run failed: ' END || (r.error::json ->> 'message'),
               'type', NULL, 'run_id', r.id, 'cause', r.error::json)::text END)
      INTO v_tenants, v_parents, v_ordinals, v_children, v_outputs, v_errors
      FROM unnest(p_runs) AS d (run_id)
      CROSS JOIN LATERAL (SELECT o.* FROM run o WHERE o.id = d.run_id AND o.parent_id IS NOT NULL OFFSET 0) r;
    IF v_parents IS NOT NULL THEN
        PERFORM engine_ended(v_tenants, v_parents, v_ordinals, v_children, v_outputs, v_errors, p_now);
    END IF;

    SELECT array_agg(r.tenant_id), array_agg(r.workflow_id), array_agg(r.concurrency_key)
      INTO v_tenants, v_workflows, v_keys
      FROM unnest(p_runs) AS d (run_id)
      CROSS JOIN LATERAL (SELECT o.* FROM run o WHERE o.id = d.run_id AND o.concurrency_key IS NOT NULL OFFSET 0) r;
    IF v_keys IS NOT NULL THEN
        PERFORM engine_release(v_tenants, v_workflows, v_keys, p_now);
    END IF;
END
$$;
