-- Purpose: waits of steps that call no handler are over: a sleep has ended; a signal or child run did
--          not come in time; a retry or repetition begins.
-- Guard:   under the tenants' mutexes.  Index: step_run_due.
-- Returns: the queues to wake.
CREATE OR REPLACE FUNCTION engine_waited(p_tenants int[], p_limit int, p_now timestamptz)
RETURNS text[] LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    v_us bigint := engine_micros(p_now);
    v_wake text[];
    v_late text[];
    d_tenants int[];
    d_runs uuid[];
    d_versions bigint[];
    d_ordinals int[];
    d_states text[];
    s_tenants int[];
    s_runs uuid[];
    s_ordinals int[];
    s_keys text[];
    c_tenants int[];
    c_runs uuid[];
BEGIN
    WITH base AS MATERIALIZED (
        SELECT l.tenant_id, l.seq FROM tenant_load l WHERE l.tenant_id = ANY (p_tenants)
    ), target AS (
        SELECT s.ctid AS tid, s.wait_reason AS why FROM step_run s
         WHERE s.state = 'waiting' AND s.due_at <= p_now AND s.tenant_id = ANY (p_tenants) AND s.handler_id IS NULL
         ORDER BY s.due_at LIMIT p_limit
    ), done AS (
        UPDATE step_run s SET
            state = CASE t.why WHEN 'sleep' THEN 'succeeded'
                               WHEN 'signal' THEN 'waiting' WHEN 'child' THEN 'waiting' ELSE 'ready' END,
            output = CASE WHEN t.why = 'sleep' THEN 'null' ELSE s.output END,
            attempts = s.attempts + (t.why = 'sleep')::int,
            finished_at = CASE WHEN t.why = 'sleep' THEN p_now END,
            wait_reason = CASE WHEN t.why IN ('signal', 'child') THEN t.why END,
            parked = CASE WHEN t.why NOT IN ('sleep', 'signal', 'child') THEN 'control' END,
            ready_at = CASE WHEN t.why NOT IN ('sleep', 'signal', 'child') THEN p_now ELSE s.ready_at END,
            rank = CASE WHEN t.why NOT IN ('sleep', 'signal', 'child') THEN v_us - s.priority * 60000000::bigint ELSE s.rank END,
            due_at = NULL,
            reason = CASE WHEN t.why = 'child' THEN 'timeout' END,
            error = CASE WHEN t.why = 'child' THEN json_build_object('code', 'timeout', 'type', NULL, 'message',
                    'The child run took longer than ' || s.charged_s || ' s.')::text ELSE s.error END
          FROM target t
         WHERE s.ctid = t.tid
        RETURNING s.tenant_id, s.run_id, s.version_id, s.ordinal, s.batch, s.state, s.queue, s.attempts, s.charged_s,
                  s.wait_key, t.why
    ), told AS (
        INSERT INTO event (tenant_id, seq, at, type, run_id, ordinal, batch, attempt)
        SELECT d.tenant_id, (SELECT b.seq FROM base b WHERE b.tenant_id = d.tenant_id) + row_number() OVER (PARTITION BY d.tenant_id ORDER BY d.run_id, d.ordinal),
               p_now, 'step.' || d.state, d.run_id, d.ordinal, d.batch, d.attempts + (d.state = 'ready')::int
          FROM done d WHERE d.state <> 'waiting'
    ), asked AS (
        INSERT INTO control (tenant_id, run_id, ordinal, batch, kind, created_at)
        SELECT d.tenant_id, d.run_id, d.ordinal, d.batch, 'again', p_now FROM done d WHERE d.state = 'ready'
    ), load AS (
        UPDATE tenant_load l SET seq = l.seq + g.n, control_count = l.control_count + g.asked
          FROM (SELECT tenant_id, count(*) AS n, count(*) FILTER (WHERE state = 'ready') AS asked
                  FROM done WHERE state <> 'waiting' GROUP BY tenant_id) g
         CROSS JOIN LATERAL (SELECT o.ctid AS tid FROM tenant_load o WHERE o.tenant_id = g.tenant_id OFFSET 0) o
         WHERE l.ctid = o.tid
    )
    SELECT coalesce(array_agg(DISTINCT d.queue), '{}'),
           array_agg(d.tenant_id) FILTER (WHERE d.why = 'sleep'), array_agg(d.run_id) FILTER (WHERE d.why = 'sleep'),
           array_agg(d.version_id) FILTER (WHERE d.why = 'sleep'),
           array_agg(d.ordinal) FILTER (WHERE d.why = 'sleep'), array_agg(d.state) FILTER (WHERE d.why = 'sleep'),
           array_agg(d.tenant_id) FILTER (WHERE d.why = 'signal'), array_agg(d.run_id) FILTER (WHERE d.why = 'signal'),
           array_agg(d.ordinal) FILTER (WHERE d.why = 'signal'), array_agg(d.wait_key) FILTER (WHERE d.why = 'signal'),
           array_agg(json_build_object('code', 'timeout', 'type', NULL, 'message',
               'The signal "' || d.wait_key || '" did not come within ' || d.charged_s || ' s.')::text)
               FILTER (WHERE d.why = 'signal'),
           array_agg(d.tenant_id) FILTER (WHERE d.why = 'child'),
           array_agg(d.wait_key::uuid) FILTER (WHERE d.why = 'child')
      INTO v_wake, d_tenants, d_runs, d_versions, d_ordinals, d_states, s_tenants, s_runs, s_ordinals, s_keys, v_late,
           c_tenants, c_runs
      FROM done d;

    IF d_runs IS NOT NULL THEN
        PERFORM engine_propagate(d_tenants, d_runs, d_versions, d_ordinals, d_states, p_now);
    END IF;
    IF s_runs IS NOT NULL THEN
        PERFORM engine_ended(s_tenants, s_runs, s_ordinals, s_keys,
                             array_fill(NULL::text, ARRAY[cardinality(s_runs)]), v_late, p_now);
    END IF;
    IF c_runs IS NOT NULL THEN
        -- the step fails when its child has ended, so that nothing of it runs beside a retry
        PERFORM engine_close(c_tenants, c_runs, 'upstream', NULL, p_now);
    END IF;
    RETURN v_wake;
END
$$;
