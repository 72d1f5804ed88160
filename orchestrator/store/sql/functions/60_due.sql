-- Purpose: step runs whose wait is over (backoff, snooze, repetition) become ready; what calls no
--          handler (sleep, signal, child run) is engine_waited's.
-- What a compensation has tried again: a map goes on (engine_map_again), a step that failed before it
-- began is asked about once more.
-- Index:   step_run_due.  Guard: chosen without locks, locked by tenant, looked at again.
-- Returns: the queues to wake.
CREATE OR REPLACE FUNCTION engine_due(p_limit int) RETURNS text[] LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    v_us bigint;
    v_now timestamptz := clock_timestamp();
    v_tenants int[];
    v_wake text[];
    v_others boolean;
    m_tenants int[];
    m_runs uuid[];
    m_ordinals int[];
BEGIN
    SELECT array_agg(DISTINCT d.tenant_id), bool_or(d.other) INTO v_tenants, v_others FROM (
        SELECT s.tenant_id, s.handler_id IS NULL AS other FROM step_run s WHERE s.state = 'waiting' AND s.due_at <= v_now
         ORDER BY s.due_at LIMIT p_limit) d;
    IF v_tenants IS NULL THEN
        RETURN '{}';
    END IF;
    PERFORM engine_lock(v_tenants);
    v_now := clock_timestamp();
    v_us := engine_micros(v_now);
    WITH base AS MATERIALIZED (
        SELECT l.tenant_id, l.seq FROM tenant_load l WHERE l.tenant_id = ANY (v_tenants)
    ), target AS (
        SELECT s.ctid AS tid,
               s.batch = 0 AND s.control AND s.started_at IS NOT NULL AND EXISTS (
                   SELECT 1 FROM map_state m WHERE m.run_id = s.run_id AND m.ordinal = s.ordinal) AS maps,
               s.batch = 0 AND s.control AND s.started_at IS NULL AS asks
          FROM step_run s
         WHERE s.state = 'waiting' AND s.due_at <= v_now AND s.tenant_id = ANY (v_tenants)
           AND s.handler_id IS NOT NULL
         ORDER BY s.due_at LIMIT p_limit
    ), done AS (
        UPDATE step_run s SET state = CASE WHEN t.maps THEN 'waiting' ELSE 'ready' END, due_at = NULL,
                              wait_reason = CASE WHEN t.maps THEN 'map' END,
                              parked = CASE WHEN t.asks THEN 'control' END, ready_at = v_now,
                              rank = v_us - s.priority * 60000000::bigint, worker_id = NULL
          FROM target t
         WHERE s.ctid = t.tid
        RETURNING s.tenant_id, s.run_id, s.ordinal, s.batch, s.queue, s.attempts, t.maps, t.asks
    ), told AS (
        INSERT INTO event (tenant_id, seq, at, type, run_id, ordinal, batch, attempt)
        SELECT d.tenant_id, (SELECT b.seq FROM base b WHERE b.tenant_id = d.tenant_id) + row_number() OVER (PARTITION BY d.tenant_id ORDER BY d.run_id, d.ordinal, d.batch),
               v_now, CASE WHEN d.maps THEN 'step.running' ELSE 'step.ready' END, d.run_id, d.ordinal, d.batch, d.attempts + 1
          FROM done d
    ), asked AS (
        INSERT INTO control (tenant_id, run_id, ordinal, batch, kind, created_at)
        SELECT d.tenant_id, d.run_id, d.ordinal, 0, 'condition', v_now FROM done d WHERE d.asks
    ), load AS (
        UPDATE tenant_load l SET seq = l.seq + g.n, ready_count = l.ready_count + g.ready,
                                 control_count = l.control_count + g.asked
          FROM (SELECT tenant_id, count(*) AS n, count(*) FILTER (WHERE NOT maps AND NOT asks) AS ready,
                       count(*) FILTER (WHERE asks) AS asked
                  FROM done GROUP BY tenant_id) g
         CROSS JOIN LATERAL (SELECT o.ctid AS tid FROM tenant_load o WHERE o.tenant_id = g.tenant_id OFFSET 0) o
         WHERE l.ctid = o.tid
    )
    SELECT coalesce(array_agg(DISTINCT d.queue), '{}'),
           array_agg(d.tenant_id) FILTER (WHERE d.maps), array_agg(d.run_id) FILTER (WHERE d.maps),
           array_agg(d.ordinal) FILTER (WHERE d.maps)
      INTO v_wake, m_tenants, m_runs, m_ordinals FROM done d;
    IF m_runs IS NOT NULL THEN
        PERFORM engine_map_again(m_tenants, m_runs, m_ordinals, v_now);
    END IF;
    IF v_others THEN
        v_wake := v_wake || engine_waited(v_tenants, p_limit, v_now);
    END IF;
    RETURN v_wake;
END
$$;
