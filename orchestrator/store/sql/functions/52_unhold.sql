-- Purpose: stuck code has ended: give back its connection and its place in a pool, and let its retry's delay begin, or its
--          step's compensation, or the undo of its run.
-- Guard:   takes the tenants' mutexes.
CREATE OR REPLACE FUNCTION engine_unhold(
    p_worker int, p_tenants int[], p_runs uuid[], p_ordinals int[], p_batches int[]
) RETURNS void LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    v_now timestamptz;
    v_count bigint;
    u_tenants int[];
    u_runs uuid[];
    v_places int[];
BEGIN
    PERFORM engine_lock(p_tenants);
    v_now := clock_timestamp();
    WITH gone AS (
        DELETE FROM hold h USING unnest(p_tenants, p_runs, p_ordinals, p_batches)
               AS d (tenant_id, run_id, ordinal, batch)
         WHERE h.tenant_id = d.tenant_id AND h.run_id = d.run_id AND h.ordinal = d.ordinal
           AND h.batch = d.batch AND h.worker_id = p_worker
        RETURNING h.*
    ), due AS (
        -- while held, `charged_s` keeps the delay of the retry
        UPDATE step_run s SET due_at = v_now + s.charged_s * interval '1 second', charged_s = 0
          FROM gone g
          CROSS JOIN LATERAL (
              SELECT o.ctid AS tid FROM step_run o
               WHERE o.tenant_id = g.tenant_id AND o.run_id = g.run_id AND o.ordinal = g.ordinal
                 AND (o.batch = g.batch OR o.batch = -1 AND g.batch NOT IN (-1, -2))
                 AND coalesce(o.state, '') = 'waiting' AND o.due_at IS NULL
                 AND o.wait_reason IS DISTINCT FROM 'compensate'
                 -- a compensation waits for the last of a map's batches
                 AND (o.batch = g.batch OR NOT EXISTS (
                      SELECT 1 FROM hold h
                       WHERE h.run_id = g.run_id AND h.ordinal = g.ordinal AND h.batch NOT IN (-1, -2)
                         AND NOT EXISTS (SELECT 1 FROM gone x WHERE x.run_id = h.run_id AND x.ordinal = h.ordinal
                                            AND x.batch = h.batch)))
              OFFSET 0) o
         WHERE s.ctid = o.tid
        RETURNING 1
    ), load AS (
        UPDATE tenant_load l SET in_use = l.in_use - g.n
          FROM (SELECT tenant_id, count(*) AS n FROM gone GROUP BY tenant_id) g
         CROSS JOIN LATERAL (SELECT o.ctid AS tid FROM tenant_load o WHERE o.tenant_id = g.tenant_id OFFSET 0) o
         WHERE l.ctid = o.tid
    )
    SELECT count(*), array_agg(g.tenant_id), array_agg(g.run_id),
           array_agg(g.pool_id) FILTER (WHERE g.pool_id IS NOT NULL)
      INTO v_count, u_tenants, u_runs, v_places FROM gone g;
    IF v_count = 0 THEN
        RETURN;
    END IF;
    IF v_places IS NOT NULL THEN
        PERFORM engine_pool_give(v_places);
    END IF;
    UPDATE server_load SET amount = amount + v_count WHERE slot = p_worker % 16;
    UPDATE run r SET active_count = r.active_count - g.n
      FROM (SELECT x, count(*) AS n FROM unnest(u_runs) AS x GROUP BY x) g
      CROSS JOIN LATERAL (
          SELECT o.ctid AS tid FROM run o WHERE o.id = g.x AND o.max_parallel IS NOT NULL OFFSET 0) o
     WHERE r.ctid = o.tid;
    PERFORM engine_unpark(u_tenants, u_runs);
    PERFORM engine_undo_start(u_tenants, u_runs, NULL, v_now);
END
$$;
