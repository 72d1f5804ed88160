-- Purpose: pools: lanes of ready steps that name one, places taken and given back.
-- A step that names a pool stands in a lane of its own: (tenant, queue, pool).  Claim asks each lane
-- whether its pool has a place, so a full one drops its lane and hides nobody's other work; nothing
-- is written when a place comes back, so no wake-up can be lost.
-- A place is held by running step runs and by holds, whose `pool_id` names the pool's row.
-- Locks:   tenants by id, then pools by id, then the server's total.

-- Purpose: the lanes with ready steps, their pool, and how many of them may start now.
-- Index:   step_run_ready, from one name to the next: one descent for each lane, and one more.
-- Returns: `room` 0 or less where the pool is full, paused, or its rate used up; a lane whose pool does
--          not exist is left out.
CREATE OR REPLACE FUNCTION engine_pool_lanes(p_tenants int[], p_queues text[], p_alone boolean)
RETURNS TABLE (tenant_id int, queue text, suspect boolean, pool text, pool_id int, room int) LANGUAGE plpgsql STABLE
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
#variable_conflict use_column
DECLARE
    v_now timestamptz := clock_timestamp();
BEGIN
    RETURN QUERY
    WITH RECURSIVE lane AS (
        SELECT t.tenant_id, a.queue, x.suspect, f.pool
          FROM unnest(p_tenants) AS t (tenant_id)
         CROSS JOIN unnest(p_queues) AS a (queue)
         CROSS JOIN (SELECT false AS suspect UNION ALL SELECT true WHERE p_alone) x
         CROSS JOIN LATERAL (
             SELECT s.pool FROM step_run s
              WHERE s.tenant_id = t.tenant_id AND s.queue = a.queue AND s.suspect = x.suspect
                AND s.state = 'ready' AND s.parked IS NULL AND s.pool > ''
              ORDER BY s.pool LIMIT 1) f
        UNION ALL
        SELECT l.tenant_id, l.queue, l.suspect, f.pool
          FROM lane l
         CROSS JOIN LATERAL (
             SELECT s.pool FROM step_run s
              WHERE s.tenant_id = l.tenant_id AND s.queue = l.queue AND s.suspect = l.suspect
                AND s.state = 'ready' AND s.parked IS NULL AND s.pool > l.pool
              ORDER BY s.pool LIMIT 1) f
    )
    SELECT l.tenant_id, l.queue, l.suspect, l.pool, p.id,
           least(p.max_places - p.in_use,
                 CASE WHEN p.rate_step IS NULL THEN p.max_places
                      ELSE floor(extract(epoch FROM p.rate_slack + (v_now - greatest(p.next_at, v_now)))
                                 / extract(epoch FROM p.rate_step)) + 1 END)::int
      FROM lane l
     CROSS JOIN LATERAL (
         SELECT o.* FROM (
             SELECT 0 AS far, m.* FROM pool m WHERE m.tenant_id = l.tenant_id AND m.name = l.pool
             UNION ALL
             SELECT 1, m.* FROM pool m WHERE m.tenant_id IS NULL AND m.name = l.pool) o
          ORDER BY o.far LIMIT 1) p;
END
$$;

-- Purpose: whether a tenant has a step in a lane whose pool has a place (p_handlers null: for anyone).
CREATE OR REPLACE FUNCTION engine_pool_ready(p_tenant int, p_queues text[], p_handlers int[], p_alone boolean)
RETURNS boolean LANGUAGE plpgsql STABLE
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
BEGIN
    RETURN EXISTS (
        SELECT 1 FROM engine_pool_lanes(ARRAY[p_tenant], p_queues, p_alone) l
         WHERE l.room > 0 AND (
            SELECT true FROM step_run s
             WHERE s.tenant_id = l.tenant_id AND s.queue = l.queue AND s.suspect = l.suspect AND s.pool = l.pool
               AND s.state = 'ready' AND s.parked IS NULL AND (p_handlers IS NULL OR s.handler_id = ANY (p_handlers))
             LIMIT 1));
END
$$;

-- Purpose: the steps that may be claimed out of lanes, no more of a pool than it has places; and what the
--          claim orders by: the connections that the tenant has room for, its start tag and weight.
-- Guard:   under the tenants' mutexes and the pools' locks, in a later statement.
CREATE OR REPLACE FUNCTION engine_pool_heads(
    p_tenants int[], p_pools int[], p_queues text[], p_handlers int[], p_want int, p_want_cpu int, p_clock double precision
) RETURNS TABLE (
    tenant_id int, tid tid, run_id uuid, ordinal int, batch int, queue text, rank bigint, limited boolean,
    handler_id int, pool_id int, room int, start double precision, weight double precision
) LANGUAGE plpgsql STABLE
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT h.tenant_id, h.tid, h.run_id, h.ordinal, h.batch, h.queue, h.rank, h.limited, h.handler_id, h.pool_id,
           h.connections, h.start, h.weight
      FROM (
        SELECT l.tenant_id, s.tid, s.run_id, s.ordinal, s.batch, l.queue, s.rank, s.limited, s.handler_id,
               l.pool_id, l.room, t.connections, t.start, t.weight,
               row_number() OVER (PARTITION BY l.pool_id
                                  ORDER BY t.start, l.tenant_id, s.rank, s.run_id, s.ordinal, s.batch) AS place
          FROM engine_pool_lanes(p_tenants, p_queues, false) l
          CROSS JOIN LATERAL (
              SELECT greatest(o.vtime, p_clock) AS start, q.max_connections - o.in_use AS connections, q.weight
                FROM tenant_load o JOIN quota q ON q.tenant_id = o.tenant_id AND q.max_connections > o.in_use
               WHERE o.tenant_id = l.tenant_id OFFSET 0) t
          CROSS JOIN LATERAL (
              SELECT s.ctid AS tid, s.run_id, s.ordinal, s.batch, s.rank, s.limited, s.handler_id
                FROM step_run s
               WHERE s.tenant_id = l.tenant_id AND s.queue = l.queue AND NOT s.suspect AND s.pool = l.pool
                 AND s.state = 'ready' AND s.parked IS NULL AND s.handler_id = ANY (p_handlers)
               ORDER BY s.rank
               LIMIT least(l.room, CASE WHEN l.queue = 'cpu' THEN p_want_cpu ELSE p_want END)) s
         WHERE l.room > 0 AND l.pool_id = ANY (p_pools)) h
     WHERE h.place <= h.room;
END
$$;

-- Purpose: in how many milliseconds a rate lets the next step of these queues start, if within a second:
--          whoever claims nothing now looks again then.
CREATE OR REPLACE FUNCTION engine_pool_later(p_queues text[], p_handlers int[]) RETURNS int LANGUAGE plpgsql STABLE
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
BEGIN
    RETURN (
        SELECT CASE WHEN count(*) > 0 THEN
                    greatest(1, ceil(1000 * extract(epoch FROM min(p.next_at - p.rate_slack) - v_now)))::int END
          FROM pool p
          JOIN tenant_load l ON (p.tenant_id IS NULL OR l.tenant_id = p.tenant_id) AND l.ready_count > 0
          JOIN quota q ON q.tenant_id = l.tenant_id AND q.max_connections > l.in_use
          JOIN tenant t ON t.id = l.tenant_id AND t.suspended_at IS NULL
         CROSS JOIN unnest(p_queues) AS a (queue)
         -- a moment that has just come counts: claim looked before it
         WHERE p.next_at - p.rate_slack BETWEEN v_now - interval '20 ms' AND v_now + interval '1 second'
           AND p.max_places > p.in_use
           AND (SELECT true FROM step_run s
                 WHERE s.tenant_id = l.tenant_id AND s.queue = a.queue AND NOT s.suspect AND s.pool = p.name
                   AND s.state = 'ready' AND s.parked IS NULL AND s.handler_id = ANY (p_handlers)
                 LIMIT 1));
END
$$;

-- Purpose: lock these pools, in the order of their ids.  Guard: after the tenants' mutexes, before the total.
-- Rights:  the owner's, here and in engine_pool_give: a tenant's steps give back places of the server's pools.
CREATE OR REPLACE FUNCTION engine_pool_lock(p_pools int[]) RETURNS void LANGUAGE plpgsql
SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    PERFORM 1 FROM pool WHERE id = ANY (p_pools) ORDER BY id FOR NO KEY UPDATE;
END
$$;

-- Purpose: steps have started: take a place of each of these pools (once for each time it is named; nulls
--          are steps without one), and move their rates on.  Guard: the pools are locked.
CREATE OR REPLACE FUNCTION engine_pool_take(p_pools int[], p_now timestamptz) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    UPDATE pool p SET
        in_use = p.in_use + g.n,
        next_at = CASE WHEN p.rate_step IS NOT NULL THEN greatest(p.next_at, p_now) + g.n * p.rate_step END
      FROM (SELECT x, count(*) AS n FROM unnest(p_pools) AS x WHERE x IS NOT NULL GROUP BY x) g
     WHERE p.id = g.x;
END
$$;

-- Purpose: give back a place of each of these pools.  Guard: under the tenants' mutexes, before the total.
CREATE OR REPLACE FUNCTION engine_pool_give(p_pools int[]) RETURNS void LANGUAGE plpgsql
SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    PERFORM engine_pool_lock(p_pools);
    UPDATE pool p SET in_use = greatest(p.in_use - g.n, 0)
      FROM (SELECT x, count(*) AS n FROM unnest(p_pools) AS x GROUP BY x) g
     WHERE p.id = g.x;
END
$$;

-- Purpose: compare the pools' use with the rows that hold places, and mend it.
-- Guard:   under every tenant's mutex.  Returns: how many were wrong (0 is expected).
CREATE OR REPLACE FUNCTION engine_reconcile_pools() RETURNS int LANGUAGE plpgsql AS $$
DECLARE
    v_wrong int;
BEGIN
    PERFORM 1 FROM pool ORDER BY id FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN 0;
    END IF;
    UPDATE pool p SET in_use = t.n
      FROM (SELECT o.id, count(h.pool_id)::int AS n
              FROM pool o
              LEFT JOIN (SELECT s.pool_id FROM step_run s WHERE s.state = 'running' AND s.pool_id IS NOT NULL
                         UNION ALL
                         SELECT d.pool_id FROM hold d WHERE d.pool_id IS NOT NULL) h ON h.pool_id = o.id
             GROUP BY o.id) t
     WHERE p.id = t.id AND p.in_use <> t.n;
    GET DIAGNOSTICS v_wrong = ROW_COUNT;
    RETURN v_wrong;
END
$$;
