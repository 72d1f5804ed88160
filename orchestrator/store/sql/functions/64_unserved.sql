-- Purpose: ready steps that no live worker can run are set aside (`no_worker`), so that they stand
--          before nobody; they come back when a worker has their handler and serves their queue.
-- Guard:   each takes the tenants' mutexes one by one, by id.  They are two transactions: one that went
--          through the tenants twice would wait for a low id while it holds a high one.

-- What live workers serve, as 'queue handler_id'.
CREATE OR REPLACE FUNCTION engine_served(p_lease_s double precision) RETURNS text[] LANGUAGE sql STABLE AS $$
    SELECT coalesce(array_agg(DISTINCT q || ' ' || h), '{}')
      FROM worker w, unnest(w.queues) AS q, unnest(w.handler_ids) AS h
     WHERE w.state = 'active' AND w.seen_at > clock_timestamp() - p_lease_s * interval '1 second'
$$;

-- Sets aside; other steps of their runs, which waited behind them for a place under `max_parallel`, may go.
-- Returns: no queue: what may go is found by engine_eligible.
CREATE OR REPLACE FUNCTION engine_unserved(p_lease_s double precision) RETURNS text[] LANGUAGE plpgsql AS $$
DECLARE
    v_tenant int;
    v_served text[] := engine_served(p_lease_s);
    v_changed bigint;
    v_runs uuid[];
BEGIN
    FOR v_tenant IN
        SELECT l.tenant_id FROM tenant_load l WHERE l.ready_count > 0 AND EXISTS (
            SELECT 1 FROM (SELECT s.queue, s.handler_id FROM step_run s
                            WHERE s.tenant_id = l.tenant_id AND s.state = 'ready' AND s.parked IS NULL
                            LIMIT 500) s
             WHERE s.queue || ' ' || s.handler_id <> ALL (v_served))
         ORDER BY l.tenant_id
    LOOP
        PERFORM engine_lock(ARRAY[v_tenant]);
        WITH aside AS (
            UPDATE step_run s SET parked = 'no_worker'
              FROM (SELECT o.ctid AS tid FROM step_run o
                     WHERE o.tenant_id = v_tenant AND o.state = 'ready' AND o.parked IS NULL
                       AND o.queue || ' ' || o.handler_id <> ALL (v_served) LIMIT 1000) t
             WHERE s.ctid = t.tid
            RETURNING s.run_id, s.limited
        )
        SELECT count(*), array_agg(DISTINCT a.run_id) FILTER (WHERE a.limited) INTO v_changed, v_runs FROM aside a;
        UPDATE tenant_load SET ready_count = ready_count - v_changed WHERE tenant_id = v_tenant;
        IF v_runs IS NOT NULL THEN
            UPDATE step_run s SET parked = 'no_worker'
             WHERE s.tenant_id = v_tenant AND s.run_id = ANY (v_runs)
               AND s.state = 'ready' AND s.parked IS NOT NULL AND s.parked = 'max_parallel'
               AND s.queue || ' ' || s.handler_id <> ALL (v_served);
            PERFORM engine_unpark(array_fill(v_tenant, ARRAY[cardinality(v_runs)]), v_runs);
        END IF;
    END LOOP;
    RETURN '{}';
END
$$;

-- Takes back.  Returns: the queues to wake.
CREATE OR REPLACE FUNCTION engine_served_again(p_lease_s double precision) RETURNS text[] LANGUAGE plpgsql AS $$
DECLARE
    v_tenant int;
    v_served text[] := engine_served(p_lease_s);
    v_changed bigint;
    v_wake text[] := '{}';
    v_queues text[];
BEGIN
    FOR v_tenant IN
        SELECT DISTINCT s.tenant_id FROM step_run s
         WHERE s.state = 'ready' AND s.parked IS NOT NULL AND s.parked = 'no_worker'
           AND s.queue || ' ' || s.handler_id = ANY (v_served)
         ORDER BY s.tenant_id
    LOOP
        PERFORM engine_lock(ARRAY[v_tenant]);
        WITH freed AS (
            UPDATE step_run s SET parked = NULL
             WHERE s.tenant_id = v_tenant AND s.state = 'ready' AND s.parked = 'no_worker'
               AND s.queue || ' ' || s.handler_id = ANY (v_served)
            RETURNING s.queue
        )
        SELECT count(*), array_agg(DISTINCT f.queue) INTO v_changed, v_queues FROM freed f;
        UPDATE tenant_load SET ready_count = ready_count + v_changed WHERE tenant_id = v_tenant;
        v_wake := v_wake || coalesce(v_queues, '{}');
    END LOOP;
    RETURN v_wake;
END
$$;
