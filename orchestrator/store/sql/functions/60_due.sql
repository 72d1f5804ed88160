-- Purpose: step runs whose wait is over (backoff, snooze, repetition) become ready; what calls no
--          handler (sleep, signal, child run) is engine_waited's.
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
        SELECT s.ctid AS tid FROM step_run s
         WHERE s.state = 'waiting' AND s.due_at <= v_now AND s.tenant_id = ANY (v_tenants)
           AND s.handler_id IS NOT NULL
         ORDER BY s.due_at LIMIT p_limit
    ), done AS (
        UPDATE step_run s SET state = 'ready', due_at = NULL, wait_reason = NULL, ready_at = v_now,
                              rank = v_us - s.priority * 60000000::bigint, worker_id = NULL
          FROM target t
         WHERE s.ctid = t.tid
        RETURNING s.tenant_id, s.run_id, s.ordinal, s.batch, s.queue, s.attempts
    ), told AS (
        INSERT INTO event (tenant_id, seq, at, type, run_id, ordinal, batch, attempt)
        SELECT d.tenant_id, (SELECT b.seq FROM base b WHERE b.tenant_id = d.tenant_id) + row_number() OVER (PARTITION BY d.tenant_id ORDER BY d.run_id, d.ordinal, d.batch),
               v_now, 'step.ready', d.run_id, d.ordinal, d.batch, d.attempts + 1
          FROM done d
    ), load AS (
        UPDATE tenant_load l SET seq = l.seq + g.n, ready_count = l.ready_count + g.n
          FROM (SELECT tenant_id, count(*) AS n FROM done GROUP BY tenant_id) g
         CROSS JOIN LATERAL (SELECT o.ctid AS tid FROM tenant_load o WHERE o.tenant_id = g.tenant_id OFFSET 0) o
         WHERE l.ctid = o.tid
    )
    SELECT coalesce(array_agg(DISTINCT d.queue), '{}') INTO v_wake FROM done d;
    IF v_others THEN
        v_wake := v_wake || engine_waited(v_tenants, p_limit, v_now);
    END IF;
    RETURN v_wake;
END
$$;
