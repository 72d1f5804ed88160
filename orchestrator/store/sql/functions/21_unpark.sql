-- Purpose: steps that waited for a place under their run's `max_parallel` become claimable again.
-- Guard:   under the tenants' mutexes.  Index: step_run_parked.
-- A claim parks what is over because others of the run go first.  So whoever takes one of those others
-- out of the queue without running it (an end by hand, a cancel, a reset, no worker) calls this too.
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

-- Purpose: of each lane (queue and pool) of these runs in which nothing can be claimed, as many as the run
--          has places: what stands in another lane may wait for its pool for long.
-- Guard:   as engine_unpark.  Returns: the queues to wake.
CREATE OR REPLACE FUNCTION engine_unpark_lanes(p_tenants int[], p_runs uuid[]) RETURNS text[] LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    v_queues text[];
BEGIN
    WITH given AS MATERIALIZED (
        SELECT d.tenant_id, d.run_id, r.places
          FROM (SELECT DISTINCT * FROM unnest(p_tenants, p_runs) AS d (tenant_id, run_id)) d
          CROSS JOIN LATERAL (
              SELECT o.max_parallel - o.active_count AS places FROM run o
               WHERE o.id = d.run_id AND o.max_parallel > o.active_count OFFSET 0) r
    ), open AS MATERIALIZED (
        SELECT DISTINCT g.run_id, s.queue, s.pool FROM given g
         CROSS JOIN LATERAL (
             SELECT o.queue, o.pool FROM step_run o
              WHERE o.tenant_id = g.tenant_id AND o.run_id = g.run_id
                AND coalesce(o.state, '') = 'ready' AND coalesce(o.parked, '') = '' OFFSET 0) s
    ), freed AS (
        UPDATE step_run s SET parked = NULL
          FROM (SELECT p.tid, g.places,
                       row_number() OVER (PARTITION BY g.run_id, p.queue, p.pool ORDER BY p.rank) AS nr
                  FROM given g
                 CROSS JOIN LATERAL (
                     SELECT o.ctid AS tid, o.queue, o.pool, o.rank FROM step_run o
                      WHERE o.tenant_id = g.tenant_id AND o.run_id = g.run_id
                        AND o.state = 'ready' AND o.parked IS NOT NULL AND o.parked = 'max_parallel' OFFSET 0) p
                 WHERE NOT EXISTS (SELECT 1 FROM open o
                                    WHERE o.run_id = g.run_id AND o.queue = p.queue AND o.pool = p.pool)) l
         WHERE l.nr <= l.places AND s.ctid = l.tid
        RETURNING s.tenant_id, s.queue
    ), load AS (
        UPDATE tenant_load l SET ready_count = l.ready_count + g.n
          FROM (SELECT tenant_id, count(*) AS n FROM freed GROUP BY tenant_id) g
         CROSS JOIN LATERAL (SELECT o.ctid AS tid FROM tenant_load o WHERE o.tenant_id = g.tenant_id OFFSET 0) o
         WHERE l.ctid = o.tid
    )
    SELECT coalesce(array_agg(DISTINCT f.queue), '{}') INTO v_queues FROM freed f;
    RETURN v_queues;
END
$$;

-- Purpose: the clock's part: runs whose steps in front wait for full pools let their other steps go.
-- Index:   step_run_ready, the first 5,000 of each lane whose pool is full; step_run_parked.
-- Guard:   chosen without locks, locked by tenant, looked at again.  Returns: the queues to wake.
CREATE OR REPLACE FUNCTION engine_pass_pools(p_lease_s double precision) RETURNS text[] LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    v_tenants int[];
    v_runs uuid[];
BEGIN
    IF NOT EXISTS (SELECT 1 FROM pool) THEN
        RETURN '{}';
    END IF;
    SELECT array_agg(d.tenant_id), array_agg(d.run_id) INTO v_tenants, v_runs FROM (
        SELECT DISTINCT l.tenant_id, s.run_id
          FROM engine_pool_lanes(
              (SELECT array_agg(o.tenant_id) FROM tenant_load o JOIN quota q ON q.tenant_id = o.tenant_id
                WHERE o.ready_count > 0 AND o.in_use < q.max_connections),
              (SELECT array_agg(DISTINCT a) FROM worker w, unnest(w.queues) AS a
                WHERE w.state = 'active' AND w.seen_at > clock_timestamp() - p_lease_s * interval '1 second'),
              true) l
         CROSS JOIN LATERAL (
             SELECT o.run_id, o.limited FROM step_run o
              WHERE o.tenant_id = l.tenant_id AND o.queue = l.queue AND o.suspect = l.suspect AND o.pool = l.pool
                AND o.state = 'ready' AND o.parked IS NULL ORDER BY o.rank LIMIT 5000) s
         WHERE l.room <= 0 AND s.limited) d
     CROSS JOIN LATERAL (
         SELECT 1 FROM run r WHERE r.id = d.run_id AND r.max_parallel > r.active_count OFFSET 0) r
     CROSS JOIN LATERAL (
         SELECT 1 FROM step_run o
          WHERE o.tenant_id = d.tenant_id AND o.run_id = d.run_id
            AND o.state = 'ready' AND o.parked IS NOT NULL AND o.parked = 'max_parallel' LIMIT 1) p;
    IF v_runs IS NULL THEN
        RETURN '{}';
    END IF;
    PERFORM engine_lock(v_tenants);
    RETURN engine_unpark_lanes(v_tenants, v_runs);
END
$$;
