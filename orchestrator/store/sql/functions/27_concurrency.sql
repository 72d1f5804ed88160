-- Purpose: who of new runs must wait before its first step: for its time (`start_at`), or for a place
--          among the runs of its workflow with the same key; and who is refused.
-- Guard:   under the tenant's mutex, so that two runs never take one place.  Index: run_concurrency.
-- Input:   the runs' arrays as engine_submit has them; p_new: the places in them to look at.
-- Returns: by place: null, start_at, concurrency or reject.
CREATE OR REPLACE FUNCTION engine_admit(
    p_tenant int, p_new int[], p_versions bigint[], p_starts timestamptz[], p_keys text[], p_now timestamptz
) RETURNS text[] LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off AS $$
DECLARE
    v_held text[] := array_fill(NULL::text, ARRAY[cardinality(p_versions)]);
    v_one record;
BEGIN
    FOR v_one IN
        WITH given AS (
            SELECT n.i, v.workflow_id, p_keys[n.i] AS key, v.most, v.on_conflict,
                   coalesce(p_starts[n.i] > p_now, false) AS later
              FROM unnest(p_new) AS n (i)
              CROSS JOIN LATERAL (
                  SELECT o.workflow_id, o.concurrency_limit AS most, o.on_conflict FROM workflow_version o
                   WHERE o.id = p_versions[n.i] OFFSET 0) v
        ), taken AS (
            -- those that wait count too: who comes later waits behind them
            SELECT g.workflow_id, g.key, c.n
              FROM (SELECT workflow_id, key, max(most) AS most FROM given
                     WHERE key IS NOT NULL AND NOT later GROUP BY workflow_id, key) g
              CROSS JOIN LATERAL (
                  SELECT count(*) AS n FROM (
                      SELECT 1 FROM run r
                       WHERE r.tenant_id = p_tenant AND r.workflow_id = g.workflow_id AND r.concurrency_key = g.key
                         AND r.finished_at IS NULL AND coalesce(r.held, '') <> 'start_at'
                       LIMIT g.most) x) c
        )
        SELECT g.i, g.later, g.on_conflict, g.most,
               t.n + row_number() OVER (PARTITION BY g.workflow_id, g.key, g.later ORDER BY g.i) AS place
          FROM given g
          LEFT JOIN taken t ON t.workflow_id = g.workflow_id AND t.key = g.key AND NOT g.later
    LOOP
        v_held[v_one.i] := CASE
            WHEN v_one.later THEN 'start_at'
            WHEN v_one.place IS NULL OR v_one.place <= v_one.most THEN NULL
            WHEN v_one.on_conflict = 'reject' THEN 'reject'
            ELSE 'concurrency' END;
    END LOOP;
    RETURN v_held;
END
$$;

-- Purpose: `cancel_oldest`: of the runs that share a key with these, close all but the newest `limit`.
--          These count as the newest: one of them may have been made long ago, and is retried now.
-- Guard:   under the tenant's mutex; the places of the closed are given on when they have ended.
CREATE OR REPLACE FUNCTION engine_make_room(p_tenant int, p_runs uuid[], p_actor text, p_now timestamptz)
RETURNS void LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    v_close uuid[];
BEGIN
    SELECT array_agg(o.id) INTO v_close
      FROM (SELECT DISTINCT r.workflow_id, r.concurrency_key, v.concurrency_limit AS most
              FROM unnest(p_runs) AS d (run_id)
              CROSS JOIN LATERAL (
                  SELECT x.workflow_id, x.concurrency_key, x.version_id FROM run x
                   WHERE x.id = d.run_id AND x.held = 'concurrency' OFFSET 0) r
              CROSS JOIN LATERAL (
                  SELECT x.concurrency_limit FROM workflow_version x
                   WHERE x.id = r.version_id AND x.on_conflict = 'cancel_oldest' OFFSET 0) v) k
      CROSS JOIN LATERAL (
          SELECT r.id FROM run r
           WHERE r.tenant_id = p_tenant AND r.workflow_id = k.workflow_id AND r.concurrency_key = k.concurrency_key
             AND r.finished_at IS NULL AND r.closing IS NULL AND coalesce(r.held, '') <> 'start_at'
           ORDER BY r.id = ANY (p_runs) DESC, r.created_at DESC, r.id DESC OFFSET k.most) o;
    IF v_close IS NOT NULL THEN
        PERFORM engine_close(array_fill(p_tenant, ARRAY[cardinality(v_close)]), v_close, 'cancel', p_actor, p_now);
    END IF;
END
$$;

-- Purpose: places of these keys may be free: the runs that wait for one take them, those of the
--          highest priority first, then the oldest.
-- Guard:   under the tenants' mutexes.  Index: run_concurrency, in the order of the queue.
-- Returns: the queues to wake.
CREATE OR REPLACE FUNCTION engine_release(p_tenants int[], p_workflows bigint[], p_keys text[], p_now timestamptz)
RETURNS text[] LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    v_tenants int[];
    v_runs uuid[];
BEGIN
    WITH freed AS (
        UPDATE run r SET held = NULL
          FROM (SELECT DISTINCT * FROM unnest(p_tenants, p_workflows, p_keys) AS d (tenant_id, workflow_id, key)) d
          CROSS JOIN LATERAL (
              SELECT count(*) AS n FROM run o
               WHERE o.tenant_id = d.tenant_id AND o.workflow_id = d.workflow_id AND o.concurrency_key = d.key
                 AND o.finished_at IS NULL AND o.held IS NULL) active
          CROSS JOIN LATERAL (
              SELECT q.tid, v.most, row_number() OVER (ORDER BY q.priority DESC, q.created_at, q.id) AS nr
                FROM (SELECT o.ctid AS tid, o.version_id, o.priority, o.created_at, o.id FROM run o
                       WHERE o.tenant_id = d.tenant_id AND o.workflow_id = d.workflow_id
                         AND o.concurrency_key = d.key AND o.finished_at IS NULL AND o.held = 'concurrency'
                       ORDER BY o.priority DESC, o.created_at, o.id LIMIT 100) q
                CROSS JOIN LATERAL (
                    SELECT x.concurrency_limit AS most FROM workflow_version x WHERE x.id = q.version_id OFFSET 0) v) w
         WHERE active.n + w.nr <= w.most AND r.ctid = w.tid
        RETURNING r.tenant_id, r.id
    )
    SELECT array_agg(f.tenant_id), array_agg(f.id) INTO v_tenants, v_runs FROM freed f;
    IF v_runs IS NULL THEN
        RETURN '{}';
    END IF;
    RETURN engine_start(v_tenants, v_runs, p_now);
END
$$;

-- Purpose: runs whose `start_at` has come begin, or wait for a place among the runs of their key.
-- Index:   run_starting.  Guard: chosen without locks, locked by tenant, looked at again.
-- Returns: the queues to wake.
CREATE OR REPLACE FUNCTION engine_start_due(p_limit int) RETURNS text[] LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
    v_tenants int[];
    v_runs uuid[];
    v_workflows bigint[];
    v_keys text[];
    v_tenant int;
    v_wake text[] := '{}';
BEGIN
    SELECT array_agg(DISTINCT d.tenant_id) INTO v_tenants FROM (
        SELECT r.tenant_id FROM run r
         WHERE r.held = 'start_at' AND r.finished_at IS NULL AND r.start_at <= v_now
         ORDER BY r.start_at LIMIT p_limit) d;
    IF v_tenants IS NULL THEN
        RETURN '{}';
    END IF;
    PERFORM engine_lock(v_tenants);
    v_now := clock_timestamp();
    FOREACH v_tenant IN ARRAY v_tenants LOOP
        WITH due AS (
            UPDATE run r SET held = CASE WHEN r.concurrency_key IS NOT NULL THEN 'concurrency' END
              FROM (SELECT o.ctid AS tid FROM run o
                     WHERE o.held = 'start_at' AND o.finished_at IS NULL AND o.start_at <= v_now
                       AND (o.tenant_id = v_tenant) IS TRUE
                     ORDER BY o.start_at LIMIT p_limit) o
             WHERE r.ctid = o.tid
            RETURNING r.id, r.workflow_id, r.concurrency_key
        )
        SELECT array_agg(d.id), array_agg(d.workflow_id), array_agg(d.concurrency_key)
          INTO v_runs, v_workflows, v_keys FROM due d;
        CONTINUE WHEN v_runs IS NULL;
        -- under `reject` it waits too: what was accepted is not dropped
        PERFORM engine_make_room(v_tenant, v_runs, NULL, v_now);
        v_wake := v_wake || engine_release(array_fill(v_tenant, ARRAY[cardinality(v_runs)]), v_workflows, v_keys, v_now);
        SELECT array_agg(r.id) INTO v_runs
          FROM unnest(v_runs, v_keys) AS r (id, key) WHERE r.key IS NULL;
        IF v_runs IS NOT NULL THEN
            v_wake := v_wake || engine_start(array_fill(v_tenant, ARRAY[cardinality(v_runs)]), v_runs, v_now);
        END IF;
    END LOOP;
    RETURN v_wake;
END
$$;
