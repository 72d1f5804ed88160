-- Purpose: cancel the steps of these runs that have not started; `always` steps only when asked.
-- Undos (batch -2) are not steps that could be cancelled.  A step that waits for its compensation has
-- failed: it ends so when its compensation, cancelled here if it has not started, has ended.
-- Guard:   under the tenants' mutexes.
-- A map's own row (it waits for its batches) is left to engine_map_cut: batches of it may still run.
-- Returns: the steps (batch 0) that ended, for engine_propagate.
CREATE OR REPLACE FUNCTION engine_cancel_steps(
    p_tenants int[], p_runs uuid[], p_always boolean, p_actor text, p_now timestamptz,
    OUT o_tenants int[], OUT o_runs uuid[], OUT o_versions bigint[], OUT o_ordinals int[], OUT o_states text[]
) LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    m record;
    c_tenants int[];
    c_runs uuid[];
    c_ordinals int[];
BEGIN
    WITH base AS MATERIALIZED (
        SELECT l.tenant_id, l.seq FROM tenant_load l WHERE l.tenant_id = ANY (p_tenants)
    ), target AS (
        SELECT d.tenant_id, d.run_id, s.*
          FROM unnest(p_tenants, p_runs) AS d (tenant_id, run_id)
          CROSS JOIN LATERAL (
              SELECT s.ctid AS tid, s.ordinal, s.batch, s.state = 'ready' AND s.parked IS NULL AS claimable
                FROM step_run s
               WHERE s.tenant_id = d.tenant_id AND s.run_id = d.run_id
                 AND coalesce(s.state, '') IN ('blocked', 'ready', 'waiting')
                 AND (p_always OR s.rule <> 'always')
                 AND s.batch <> -2 AND coalesce(s.wait_reason, '') NOT IN ('compensate', 'map')
              OFFSET 0) s
    ), done AS (
        UPDATE step_run s SET state = 'cancelled', parked = NULL, finished_at = p_now,
                              due_at = NULL, wait_reason = NULL
          FROM target t
         WHERE s.ctid = t.tid
        RETURNING s.tenant_id, s.run_id, s.version_id, s.ordinal, s.batch, t.claimable
    ), told AS (
        INSERT INTO event (tenant_id, seq, at, type, run_id, ordinal, batch, actor)
        SELECT d.tenant_id, (SELECT b.seq FROM base b WHERE b.tenant_id = d.tenant_id) + row_number() OVER (PARTITION BY d.tenant_id ORDER BY d.run_id, d.ordinal),
               p_now, 'step.cancelled', d.run_id, d.ordinal, d.batch, p_actor
          FROM done d
    ), cut AS (
        DELETE FROM control c USING target t
         CROSS JOIN LATERAL (
             SELECT o.ctid AS tid FROM control o
              WHERE o.run_id = t.run_id AND o.ordinal = t.ordinal AND o.batch = t.batch OFFSET 0) o
         WHERE c.ctid = o.tid
        RETURNING c.tenant_id
    ), load AS (
        UPDATE tenant_load l SET
            seq = l.seq + g.n,
            ready_count = l.ready_count - g.ready,
            control_count = l.control_count - (SELECT count(*) FROM cut WHERE cut.tenant_id = l.tenant_id)
          FROM (SELECT tenant_id, count(*) AS n, count(*) FILTER (WHERE claimable) AS ready
                  FROM done GROUP BY tenant_id) g
         CROSS JOIN LATERAL (SELECT o.ctid AS tid FROM tenant_load o WHERE o.tenant_id = g.tenant_id OFFSET 0) o
         WHERE l.ctid = o.tid
    )
    SELECT array_agg(d.tenant_id) FILTER (WHERE d.batch = 0), array_agg(d.run_id) FILTER (WHERE d.batch = 0),
           array_agg(d.version_id) FILTER (WHERE d.batch = 0), array_agg(d.ordinal) FILTER (WHERE d.batch = 0),
           array_agg('cancelled'::text) FILTER (WHERE d.batch = 0),
           array_agg(d.tenant_id) FILTER (WHERE d.batch = -1), array_agg(d.run_id) FILTER (WHERE d.batch = -1),
           array_agg(d.ordinal) FILTER (WHERE d.batch = -1)
      INTO o_tenants, o_runs, o_versions, o_ordinals, o_states, c_tenants, c_runs, c_ordinals
      FROM done d;
    IF c_runs IS NOT NULL THEN
        PERFORM engine_compensated(c_tenants, c_runs, c_ordinals, p_now);
    END IF;

    SELECT * INTO m FROM engine_map_cut(p_tenants, p_runs, p_always, p_actor, p_now);
    IF m.o_runs IS NOT NULL THEN
        o_tenants := o_tenants || m.o_tenants;
        o_runs := o_runs || m.o_runs;
        o_versions := o_versions || m.o_versions;
        o_ordinals := o_ordinals || m.o_ordinals;
        o_states := o_states || m.o_states;
    END IF;
END
$$;
