-- Purpose: nothing new may start in these runs (cancel, fail_fast, timeout, deadline): what has not
--          started is cancelled; what runs is told by its worker; `always` steps may still run.
-- Guard:   under the tenants' mutexes; runs that are closing, terminal or being undone are left alone.
-- Returns: the runs that were closed now.
CREATE OR REPLACE FUNCTION engine_close(
    p_tenants int[], p_runs uuid[], p_kind text, p_actor text, p_now timestamptz
) RETURNS uuid[] LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    v_tenants int[];
    v_runs uuid[];
    d_tenants int[];
    d_runs uuid[];
    d_versions bigint[];
    d_ordinals int[];
    d_states text[];
    h_tenants int[];
    h_runs uuid[];
BEGIN
    WITH closed AS (
        UPDATE run r SET closing = p_kind, closing_at = p_now, held = NULL
          FROM unnest(p_tenants, p_runs) AS d (tenant_id, run_id)
          CROSS JOIN LATERAL (
              SELECT o.ctid AS tid, o.held FROM run o
               WHERE o.id = d.run_id AND (o.tenant_id = d.tenant_id) IS TRUE
                 AND o.finished_at IS NULL AND o.closing IS NULL AND o.undo_state IS NULL
              OFFSET 0) o
         WHERE r.ctid = o.tid
        RETURNING r.tenant_id, r.id, o.held
    )
    SELECT array_agg(tenant_id), array_agg(id),
           array_agg(tenant_id) FILTER (WHERE held IS NOT NULL), array_agg(id) FILTER (WHERE held IS NOT NULL)
      INTO v_tenants, v_runs, h_tenants, h_runs FROM closed;
    IF v_runs IS NULL THEN
        RETURN '{}';
    END IF;
    -- a run that closes is not paused any more: it comes to its end
    PERFORM engine_unpause(v_tenants, v_runs, p_actor, p_now);
    PERFORM engine_free(v_tenants, v_runs);

    WITH cut AS (
        DELETE FROM control c USING unnest(v_runs) AS d (run_id)
         CROSS JOIN LATERAL (
             SELECT o.ctid AS tid FROM control o WHERE o.run_id = d.run_id AND o.ordinal = -1 OFFSET 0) o
         WHERE c.ctid = o.tid
        RETURNING c.tenant_id
    )
    UPDATE tenant_load l SET control_count = l.control_count - g.n
      FROM (SELECT tenant_id, count(*) AS n FROM cut GROUP BY tenant_id) g
     CROSS JOIN LATERAL (SELECT o.ctid AS tid FROM tenant_load o WHERE o.tenant_id = g.tenant_id OFFSET 0) o
     WHERE l.ctid = o.tid;

    SELECT * INTO d_tenants, d_runs, d_versions, d_ordinals, d_states
      FROM engine_cancel_steps(v_tenants, v_runs, false, p_actor, p_now);
    IF d_runs IS NOT NULL THEN
        PERFORM engine_propagate(d_tenants, d_runs, d_versions, d_ordinals, d_states, p_now);
    END IF;
    IF h_runs IS NOT NULL THEN
        -- nothing of a held run has begun: there is nothing for its `always` steps to clean up
        SELECT * INTO d_tenants, d_runs, d_versions, d_ordinals, d_states
          FROM engine_cancel_steps(h_tenants, h_runs, true, p_actor, p_now);
        IF d_runs IS NOT NULL THEN
            PERFORM engine_propagate(d_tenants, d_runs, d_versions, d_ordinals, d_states, p_now);
        END IF;
    END IF;
    -- an `always` step may have waited behind one that was cancelled
    PERFORM engine_unpark(v_tenants, v_runs);
    PERFORM engine_close_children(v_tenants, v_runs, false, p_actor, p_now);
    -- a run whose steps had all ended (its output was being made) has nothing left to end it
    PERFORM engine_finish(v_tenants, v_runs, NULL, NULL, p_now);
    RETURN v_runs;
END
$$;
