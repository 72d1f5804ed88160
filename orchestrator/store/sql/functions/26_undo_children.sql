-- Undoing reaches into child runs: the undo of a step that ran a workflow, and has no undo of its own,
-- is the undo of its child runs.  Its row (batch -2, no handler, wait_key 'children') waits for them.

-- Purpose: the child runs of a run whose undo its own undo asks for, by the step that ran them: those that
--          succeeded, or were closed with it, and have something to undo.  One that failed has undone itself.
-- Index:   run_parent; version_call's and step_run's key.
CREATE OR REPLACE FUNCTION engine_undoable_children(
    p_tenant int, p_run uuid, p_version bigint
) RETURNS TABLE (ordinal int, child uuid) LANGUAGE plpgsql STABLE
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
        SELECT r.parent_ordinal, r.id
          FROM (SELECT o.id, o.parent_ordinal, o.version_id FROM run o
                 WHERE o.tenant_id = p_tenant AND o.parent_id = p_run
                   AND o.state IN ('succeeded', 'cancelled') AND o.undo_state IS NULL OFFSET 0) r
          CROSS JOIN LATERAL (
              SELECT 1 FROM step_run o
               WHERE o.tenant_id = p_tenant AND o.run_id = p_run AND o.ordinal = r.parent_ordinal AND o.batch = 0
                 AND NOT o.handled AND coalesce(o.reason, '') <> 'cached' OFFSET 0) s
         WHERE NOT EXISTS (
                SELECT 1 FROM version_call c
                 WHERE c.version_id = p_version AND c.ordinal = r.parent_ordinal AND c.batch = -2)
           AND engine_has_undo(p_tenant, r.id, r.version_id);
END
$$;

-- Purpose: rows of child runs' undos have their turn: the children are undone; a row whose children have
--          nothing left to undo has ended at once.  Guard: under the tenants' mutexes.
CREATE OR REPLACE FUNCTION engine_undo_children(
    p_tenants int[], p_runs uuid[], p_ordinals int[], p_actor text, p_now timestamptz
) RETURNS text[] LANGUAGE plpgsql AS $$
DECLARE
    v_tenants int[];
    v_children uuid[];
    v_wake text[] := '{}';
BEGIN
    SELECT array_agg(d.tenant_id), array_agg(x.child) INTO v_tenants, v_children
      FROM unnest(p_tenants, p_runs, p_ordinals) AS d (tenant_id, run_id, ordinal)
      CROSS JOIN LATERAL (SELECT o.version_id FROM run o WHERE o.id = d.run_id OFFSET 0) r
      CROSS JOIN LATERAL engine_undoable_children(d.tenant_id, d.run_id, r.version_id) AS x (ordinal, child)
     WHERE x.ordinal = d.ordinal;
    IF v_children IS NOT NULL THEN
        v_wake := engine_undo_begin(
            v_tenants, v_children, array_fill(NULL::text, ARRAY[cardinality(v_children)]), p_actor, p_now);
    END IF;
    PERFORM engine_children_undone(p_tenants, p_runs, p_ordinals, p_now);
    RETURN v_wake;
END
$$;

-- Purpose: end the rows that wait for child runs' undos, where none of these is under way any more.
-- Guard:   under the tenants' mutexes.
CREATE OR REPLACE FUNCTION engine_children_undone(
    p_tenants int[], p_runs uuid[], p_ordinals int[], p_now timestamptz
) RETURNS void LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    d_tenants int[];
    d_runs uuid[];
    d_ordinals int[];
BEGIN
    WITH base AS MATERIALIZED (
        SELECT l.tenant_id, l.seq FROM tenant_load l WHERE l.tenant_id = ANY (p_tenants)
    ), done AS (
        UPDATE step_run s SET
            state = CASE WHEN f.error IS NULL THEN 'succeeded' ELSE 'failed' END,
            error = f.error, finished_at = p_now, wait_reason = NULL
          FROM (SELECT DISTINCT * FROM unnest(p_tenants, p_runs, p_ordinals) AS d (tenant_id, run_id, ordinal)) d
          CROSS JOIN LATERAL (
              SELECT o.ctid AS tid FROM step_run o
               WHERE o.tenant_id = d.tenant_id AND o.run_id = d.run_id AND o.ordinal = d.ordinal AND o.batch = -2
                 AND coalesce(o.state, '') = 'waiting' AND o.wait_key = 'children' OFFSET 0) o
          LEFT JOIN LATERAL (
              SELECT r.undo_error AS error FROM run r
               WHERE r.tenant_id = d.tenant_id AND r.parent_id = d.run_id AND r.parent_ordinal = d.ordinal
                 AND r.undo_state = 'failed' ORDER BY r.undo_finished_at LIMIT 1) f ON true
         WHERE s.ctid = o.tid AND NOT EXISTS (
                SELECT 1 FROM run r
                 WHERE r.tenant_id = d.tenant_id AND r.parent_id = d.run_id AND r.parent_ordinal = d.ordinal
                   AND r.undo_state = 'running')
        RETURNING s.tenant_id, s.run_id, s.ordinal, s.state, s.error
    ), told AS (
        INSERT INTO event (tenant_id, seq, at, type, run_id, ordinal, batch, data)
        SELECT d.tenant_id, (SELECT b.seq FROM base b WHERE b.tenant_id = d.tenant_id) + row_number() OVER (PARTITION BY d.tenant_id ORDER BY d.run_id, d.ordinal),
               p_now, 'step.' || d.state, d.run_id, d.ordinal, -2, d.error
          FROM done d
    ), load AS (
        UPDATE tenant_load l SET seq = l.seq + g.n
          FROM (SELECT tenant_id, count(*) AS n FROM done GROUP BY tenant_id) g
         CROSS JOIN LATERAL (SELECT o.ctid AS tid FROM tenant_load o WHERE o.tenant_id = g.tenant_id OFFSET 0) o
         WHERE l.ctid = o.tid
    )
    SELECT array_agg(d.tenant_id), array_agg(d.run_id), array_agg(d.ordinal) INTO d_tenants, d_runs, d_ordinals FROM done d;
    IF d_runs IS NOT NULL THEN
        PERFORM engine_undone(d_tenants, d_runs, d_ordinals, p_now);
    END IF;
END
$$;
