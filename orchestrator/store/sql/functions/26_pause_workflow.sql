-- Purpose: hold all runs of a workflow, those to come too, with the runs under them, and let them go on.
-- Guard:   takes the tenant's mutex.  Index: run_state_newest, run_parent, step_run_parked, control_held.
-- The timeouts of these runs stand still meanwhile (`resume_ms`); deadlines do not.

-- The open runs of a workflow that have started, and the open runs under them, each once.
CREATE OR REPLACE FUNCTION engine_runs_under(p_tenant int, p_workflow bigint) RETURNS SETOF uuid LANGUAGE plpgsql STABLE
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
BEGIN
    RETURN QUERY
        WITH RECURSIVE under AS (
            SELECT r.id FROM run r
             WHERE r.tenant_id = p_tenant AND r.state IN ('running', 'paused') AND r.workflow_id = p_workflow
            UNION
            SELECT c.id FROM under u
             CROSS JOIN LATERAL (
                 SELECT o.id FROM run o
                  WHERE o.tenant_id = p_tenant AND o.parent_id = u.id AND o.finished_at IS NULL OFFSET 0) c
        )
        SELECT u.id FROM under u;
END
$$;

-- Returns: whether it was paused now.
CREATE OR REPLACE FUNCTION engine_pause_workflow(p_tenant int, p_workflow bigint) RETURNS boolean LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    v_now timestamptz;
BEGIN
    -- there is no mutex before the tenant's first run
    INSERT INTO tenant_load (tenant_id) VALUES (p_tenant) ON CONFLICT DO NOTHING;
    PERFORM engine_lock(ARRAY[p_tenant]);
    v_now := clock_timestamp();
    UPDATE workflow w SET paused_at = v_now
     WHERE w.id = p_workflow AND (w.tenant_id = p_tenant) IS TRUE AND w.paused_at IS NULL;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    UPDATE tenant_load l SET paused_count = l.paused_count + 1 WHERE l.tenant_id = p_tenant;
    -- ready steps are parked as claims come across them: there may be very many
    UPDATE run r SET
        resume_ms = (extract(epoch FROM r.expires_at - v_now) * 1000)::bigint, expires_at = r.deadline_at
      FROM engine_runs_under(p_tenant, p_workflow) AS d (run_id)
      CROSS JOIN LATERAL (
          SELECT o.ctid AS tid FROM run o
           -- one that is being undone has neither timeout nor deadline any more
           WHERE o.id = d.run_id AND o.state = 'running' AND o.closing IS NULL AND o.resume_ms IS NULL
             AND o.undo_state IS NULL OFFSET 0) o
     WHERE r.ctid = o.tid;
    RETURN true;
END
$$;

-- Returns: whether it was resumed now; the queues to wake.
CREATE OR REPLACE FUNCTION engine_resume_workflow(p_tenant int, p_workflow bigint, OUT resumed boolean, OUT wake text[])
LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    v_now timestamptz;
    v_runs uuid[];
BEGIN
    PERFORM engine_lock(ARRAY[p_tenant]);
    v_now := clock_timestamp();
    wake := '{}';
    UPDATE workflow w SET paused_at = NULL
     WHERE w.id = p_workflow AND (w.tenant_id = p_tenant) IS TRUE AND w.paused_at IS NOT NULL;
    resumed := FOUND;
    IF NOT resumed THEN
        RETURN;
    END IF;
    UPDATE tenant_load l SET paused_count = l.paused_count - 1 WHERE l.tenant_id = p_tenant;
    UPDATE run r SET
        expires_at = CASE WHEN r.undo_state IS NULL
                          THEN least(r.deadline_at, v_now + r.resume_ms * interval '1 millisecond') END,
        resume_ms = NULL
      FROM engine_runs_under(p_tenant, p_workflow) AS d (run_id)
      CROSS JOIN LATERAL (
          -- another workflow above may be paused still
          SELECT o.ctid AS tid FROM run o
           WHERE o.id = d.run_id AND o.state = 'running' AND o.resume_ms IS NOT NULL
             AND NOT engine_workflow_paused(o.id) OFFSET 0) o
     WHERE r.ctid = o.tid;

    SELECT array_agg(d.run_id) INTO v_runs FROM (
        SELECT s.run_id FROM step_run s
         WHERE s.tenant_id = p_tenant AND s.state = 'ready' AND s.parked IS NOT NULL AND s.parked = 'paused'
        UNION SELECT c.run_id FROM control c WHERE c.tenant_id = p_tenant AND c.held) d
     WHERE engine_paused(d.run_id) IS FALSE;
    IF v_runs IS NOT NULL THEN
        wake := engine_hint(p_tenant, engine_free(array_fill(p_tenant, ARRAY[cardinality(v_runs)]), v_runs), v_now);
    END IF;
END
$$;
