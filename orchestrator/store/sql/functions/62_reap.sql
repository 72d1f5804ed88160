-- Purpose: a worker is dead: its running steps are lost (run again, alone; failed after 3 losses),
--          what its stuck code held is given back.
-- Index:   step_run_running, hold_worker.  Guard: takes the tenants' mutexes.
-- Returns: how many steps were lost; the queues to wake.
CREATE OR REPLACE FUNCTION engine_reap(p_worker int, OUT lost int, OUT wake text[]) LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    v_us bigint;
    v_now timestamptz;
    v_tenants int[];
    d_tenants int[];
    d_runs uuid[];
    d_versions bigint[];
    d_ordinals int[];
    d_states text[];
    u_tenants int[];
    u_runs uuid[];
    h_tenants int[];
    h_runs uuid[];
    h_ordinals int[];
    h_batches int[];
    v_places int[];
    m_tenants int[];
    m_runs uuid[];
    m_ordinals int[];
    m_batches int[];
    c_tenants int[];
    c_runs uuid[];
    c_ordinals int[];
    c_batches int[];
BEGIN
    SELECT array_agg(DISTINCT x.tenant_id) INTO v_tenants FROM (
        SELECT s.tenant_id FROM step_run s WHERE s.state = 'running' AND s.worker_id = p_worker
        UNION ALL SELECT h.tenant_id FROM hold h WHERE h.worker_id = p_worker) x;
    IF v_tenants IS NULL THEN
        UPDATE worker SET state = 'gone', gone_at = clock_timestamp(), locked = false, in_flight = 0
         WHERE id = p_worker AND state <> 'gone';
        lost := 0;
        wake := '{}';
        RETURN;
    END IF;
    PERFORM engine_lock(v_tenants);
    -- every pool that is given back below, since the total comes in between
    SELECT array_agg(x.pool_id) INTO v_places FROM (
        SELECT s.pool_id FROM step_run s WHERE s.state = 'running' AND s.worker_id = p_worker
        UNION ALL SELECT h.pool_id FROM hold h WHERE h.worker_id = p_worker) x WHERE x.pool_id IS NOT NULL;
    IF v_places IS NOT NULL THEN
        PERFORM engine_pool_lock(v_places);
    END IF;
    v_now := clock_timestamp();
    v_us := engine_micros(v_now);
    UPDATE worker SET state = 'gone', gone_at = v_now, locked = false, in_flight = 0
     WHERE id = p_worker AND state <> 'gone';

    WITH base AS MATERIALIZED (
        SELECT l.tenant_id, l.seq FROM tenant_load l WHERE l.tenant_id = ANY (v_tenants)
    ), target AS (
        SELECT s.ctid AS tid, s.started_at, s.losses + 1 AS losses, v.fallback,
               CASE WHEN r.closing IS NOT NULL AND s.rule <> 'always' THEN 'cancelled'
                    WHEN s.losses + 1 < 3 THEN 'ready'
                    WHEN v.fallback IS NOT NULL AND s.batch = 0 THEN 'succeeded'
                    ELSE 'failed' END AS state
          FROM step_run s
          CROSS JOIN LATERAL (SELECT r.closing FROM run r WHERE r.id = s.run_id OFFSET 0) r
          CROSS JOIN LATERAL (
              SELECT CASE WHEN s.batch >= 0 THEN v.fallback END AS fallback FROM version_step v
               WHERE v.version_id = s.version_id AND v.ordinal = s.ordinal OFFSET 0) v
         WHERE s.state = 'running' AND s.worker_id = p_worker AND s.tenant_id = ANY (v_tenants)
    ), done AS (
        UPDATE step_run s SET
            state = t.state, losses = t.losses, suspect = true, charged_s = 0,
            ready_at = CASE WHEN t.state = 'ready' THEN v_now ELSE s.ready_at END,
            rank = CASE WHEN t.state = 'ready' THEN v_us - s.priority * 60000000::bigint ELSE s.rank END,
            finished_at = CASE WHEN t.state <> 'ready' THEN v_now END,
            output = CASE WHEN t.state = 'succeeded' THEN t.fallback END,
            handled = t.state = 'succeeded',
            error = CASE WHEN t.state IN ('failed', 'succeeded') THEN
                '{"code":"lost","message":"The process that ran this step died 3 times.","type":null}' END
          FROM target t
         WHERE s.ctid = t.tid
        RETURNING s.tenant_id, s.run_id, s.version_id, s.ordinal, s.batch, s.state, s.queue, s.attempts, s.losses,
                  s.limited, s.pool_id, s.error, t.started_at
    ), said AS (
        SELECT d.*, 'step.lost' AS type, 1 AS place,
               json_build_object('worker', p_worker, 'losses', d.losses)::text AS data FROM done d
        UNION ALL
        SELECT d.*, 'step.' || d.state, 2, d.error FROM done d
    ), told AS (
        INSERT INTO event (tenant_id, seq, at, type, run_id, ordinal, batch, attempt, worker_id, value_s, data)
        SELECT d.tenant_id, (SELECT b.seq FROM base b WHERE b.tenant_id = d.tenant_id) + row_number() OVER (PARTITION BY d.tenant_id ORDER BY d.run_id, d.ordinal, d.batch, d.place),
               v_now, d.type, d.run_id, d.ordinal, d.batch, d.attempts + 1,
               CASE WHEN d.place = 1 THEN p_worker END,
               CASE WHEN d.place = 1 THEN extract(epoch FROM v_now - d.started_at) END, d.data
          FROM said d
    ), load AS (
        UPDATE tenant_load l SET seq = l.seq + 2 * g.n, in_use = l.in_use - g.n, ready_count = l.ready_count + g.ready
          FROM (SELECT tenant_id, count(*) AS n, count(*) FILTER (WHERE state = 'ready') AS ready
                  FROM done GROUP BY tenant_id) g
         CROSS JOIN LATERAL (SELECT o.ctid AS tid FROM tenant_load o WHERE o.tenant_id = g.tenant_id OFFSET 0) o
         WHERE l.ctid = o.tid
    )
    SELECT count(*), coalesce(array_agg(DISTINCT d.queue) FILTER (WHERE d.state = 'ready'), '{}'),
           array_agg(d.tenant_id) FILTER (WHERE d.state <> 'ready' AND d.batch = 0),
           array_agg(d.run_id) FILTER (WHERE d.state <> 'ready' AND d.batch = 0),
           array_agg(d.version_id) FILTER (WHERE d.state <> 'ready' AND d.batch = 0),
           array_agg(d.ordinal) FILTER (WHERE d.state <> 'ready' AND d.batch = 0),
           array_agg(d.state) FILTER (WHERE d.state <> 'ready' AND d.batch = 0),
           array_agg(d.tenant_id) FILTER (WHERE d.state <> 'ready' AND d.batch IN (-1, -2)),
           array_agg(d.run_id) FILTER (WHERE d.state <> 'ready' AND d.batch IN (-1, -2)),
           array_agg(d.ordinal) FILTER (WHERE d.state <> 'ready' AND d.batch IN (-1, -2)),
           array_agg(d.batch) FILTER (WHERE d.state <> 'ready' AND d.batch IN (-1, -2)),
           array_agg(d.tenant_id) FILTER (WHERE d.limited),
           array_agg(d.run_id) FILTER (WHERE d.limited),
           array_agg(d.pool_id) FILTER (WHERE d.pool_id IS NOT NULL),
           array_agg(d.tenant_id) FILTER (WHERE d.batch > 0 OR d.batch = -3),
           array_agg(d.run_id) FILTER (WHERE d.batch > 0 OR d.batch = -3),
           array_agg(d.ordinal) FILTER (WHERE d.batch > 0 OR d.batch = -3),
           array_agg(d.batch) FILTER (WHERE d.batch > 0 OR d.batch = -3)
      INTO lost, wake, d_tenants, d_runs, d_versions, d_ordinals, d_states,
           c_tenants, c_runs, c_ordinals, c_batches, u_tenants, u_runs, v_places,
           m_tenants, m_runs, m_ordinals, m_batches
      FROM done d;

    IF v_places IS NOT NULL THEN
        PERFORM engine_pool_give(v_places);
    END IF;
    IF lost > 0 THEN
        UPDATE server_load SET amount = amount + lost WHERE slot = p_worker % 16;
    END IF;
    IF u_runs IS NOT NULL THEN
        UPDATE run r SET active_count = r.active_count - g.n
          FROM (SELECT x, count(*) AS n FROM unnest(u_runs) AS x GROUP BY x) g
          CROSS JOIN LATERAL (SELECT o.ctid AS tid FROM run o WHERE o.id = g.x OFFSET 0) o
         WHERE r.ctid = o.tid;
    END IF;
    -- maps first: what propagates may close their runs, and then counts what they have in flight
    IF m_runs IS NOT NULL THEN
        PERFORM engine_map_ended(m_tenants, m_runs, m_ordinals, m_batches, v_now);
    END IF;
    IF d_runs IS NOT NULL THEN
        PERFORM engine_propagate(d_tenants, d_runs, d_versions, d_ordinals, d_states, v_now);
    END IF;
    IF c_runs IS NOT NULL THEN
        PERFORM engine_calls_ended(c_tenants, c_runs, c_ordinals, c_batches, v_now);
    END IF;
    IF u_runs IS NOT NULL THEN
        PERFORM engine_unpark(u_tenants, u_runs);
    END IF;
    SELECT array_agg(h.tenant_id), array_agg(h.run_id), array_agg(h.ordinal), array_agg(h.batch)
      INTO h_tenants, h_runs, h_ordinals, h_batches FROM hold h WHERE h.worker_id = p_worker;
    IF h_runs IS NOT NULL THEN
        PERFORM engine_unhold(p_worker, h_tenants, h_runs, h_ordinals, h_batches);
    END IF;
END
$$;
