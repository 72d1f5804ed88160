-- Purpose: write what Python decided of control work: a condition (run or skip), what a map goes over,
--          a run's output.
-- Guard:   takes the tenants' mutexes; counts only where the control row has the same epoch.
-- Input:   parallel arrays.  verdict: ready, skipped, failed (of a condition); cache (the key of its
--          output is known: see engine_cache_ask); map; output, error (of a run).
--          `value`: the reason, the error's JSON, the map's (engine_map_begin), or the output's.
CREATE OR REPLACE FUNCTION engine_decide(
    p_tenants int[], p_runs uuid[], p_ordinals int[], p_batches int[], p_epochs int[],
    p_verdicts text[], p_values text[], p_fallbacks text[]
) RETURNS void LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    v_us bigint;
    v_now timestamptz;
    d_tenants int[];
    d_runs uuid[];
    d_versions bigint[];
    d_ordinals int[];
    d_states text[];
    o_tenants int[];
    o_runs uuid[];
    o_outputs text[];
    o_errors text[];
    m_tenants int[];
    m_runs uuid[];
    m_versions bigint[];
    m_ordinals int[];
    m_values text[];
BEGIN
    PERFORM engine_lock(p_tenants);
    v_now := clock_timestamp();
    v_us := engine_micros(v_now);
    IF 'cache' = ANY (p_verdicts) THEN
        SELECT a.p_verdicts, a.p_values INTO p_verdicts, p_values
          FROM engine_cache_ask(p_tenants, p_runs, p_ordinals, p_batches, p_epochs, p_verdicts, p_values, v_now) a;
    END IF;

    WITH base AS MATERIALIZED (
        SELECT l.tenant_id, l.seq FROM tenant_load l WHERE l.tenant_id = ANY (p_tenants)
    ), given AS (
        SELECT * FROM unnest(p_tenants, p_runs, p_ordinals, p_batches, p_epochs, p_verdicts, p_values, p_fallbacks)
               AS g (tenant_id, run_id, ordinal, batch, epoch, verdict, value, fallback)
    ), taken AS (
        DELETE FROM control c USING given g
         CROSS JOIN LATERAL (
             SELECT o.ctid AS tid FROM control o
              WHERE (o.tenant_id = g.tenant_id) IS TRUE AND o.run_id = g.run_id
                AND o.ordinal = g.ordinal AND o.batch = g.batch AND o.epoch = g.epoch
             OFFSET 0) o
         WHERE c.ctid = o.tid
        RETURNING g.*
    ), done AS (
        UPDATE step_run s SET
            state = CASE WHEN t.verdict = 'cached' OR t.verdict = 'failed' AND t.fallback IS NOT NULL THEN 'succeeded'
                         WHEN t.verdict = 'begin' THEN 'ready' WHEN t.verdict = 'map' THEN 'waiting' ELSE t.verdict END,
            parked = CASE WHEN t.verdict = 'begin' THEN 'control' END,
            started_at = CASE WHEN t.verdict = 'map' THEN v_now ELSE s.started_at END,
            rank = v_us - s.priority * 60000000::bigint,
            reason = CASE WHEN t.verdict = 'skipped' THEN t.value WHEN t.verdict = 'cached' THEN 'cached' END,
            wait_reason = CASE WHEN t.verdict = 'waiting' THEN t.value WHEN t.verdict = 'map' THEN 'map' END,
            error = CASE WHEN t.verdict = 'failed' THEN t.value END,
            output = CASE WHEN t.verdict = 'failed' THEN t.fallback WHEN t.verdict = 'cached' THEN t.value END,
            handled = t.verdict = 'failed' AND t.fallback IS NOT NULL,
            finished_at = CASE WHEN t.verdict NOT IN ('ready', 'begin', 'waiting', 'map') THEN v_now END
          FROM taken t
          CROSS JOIN LATERAL (
              SELECT o.ctid AS tid FROM step_run o
               WHERE t.ordinal >= 0 AND o.tenant_id = t.tenant_id AND o.run_id = t.run_id
                 AND o.ordinal = t.ordinal AND o.batch = t.batch
                 AND coalesce(o.state, '') = 'ready' AND coalesce(o.parked, '') = 'control'
              OFFSET 0) o
         WHERE s.ctid = o.tid
        RETURNING s.tenant_id, s.run_id, s.version_id, s.ordinal, s.batch, s.state, s.parked, s.reason, s.wait_reason, s.error,
                  t.verdict, t.value
    ), told AS (
        INSERT INTO event (tenant_id, seq, at, type, run_id, ordinal, batch, data)
        SELECT d.tenant_id, (SELECT b.seq FROM base b WHERE b.tenant_id = d.tenant_id) + row_number() OVER (PARTITION BY d.tenant_id ORDER BY d.run_id, d.ordinal), v_now,
               'step.' || d.state, d.run_id, d.ordinal, d.batch,
               CASE WHEN d.state = 'succeeded' AND d.reason = 'cached' THEN '{"cached":true}'
                    ELSE coalesce(d.error, json_build_object('reason', coalesce(d.wait_reason, d.reason))::text) END
          FROM done d
         WHERE d.state <> 'ready' AND d.verdict <> 'map'
    ), load AS (
        UPDATE tenant_load l SET
            seq = l.seq + coalesce((SELECT count(*) FROM done d WHERE d.tenant_id = l.tenant_id AND d.state <> 'ready' AND d.verdict <> 'map'), 0),
            ready_count = l.ready_count + coalesce((SELECT count(*) FROM done d WHERE d.tenant_id = l.tenant_id AND d.state = 'ready' AND d.parked IS NULL), 0),
            control_count = l.control_count - g.n
          FROM (SELECT tenant_id, count(*) AS n FROM taken GROUP BY tenant_id) g
         CROSS JOIN LATERAL (SELECT o.ctid AS tid FROM tenant_load o WHERE o.tenant_id = g.tenant_id OFFSET 0) o
         WHERE l.ctid = o.tid
    )
    SELECT array_agg(x.tenant_id) FILTER (WHERE x.state NOT IN ('output', 'ready', 'waiting')),
           array_agg(x.run_id) FILTER (WHERE x.state NOT IN ('output', 'ready', 'waiting')),
           array_agg(x.version_id) FILTER (WHERE x.state NOT IN ('output', 'ready', 'waiting')),
           array_agg(x.ordinal) FILTER (WHERE x.state NOT IN ('output', 'ready', 'waiting')),
           array_agg(x.state) FILTER (WHERE x.state NOT IN ('output', 'ready', 'waiting')),
           array_agg(x.tenant_id) FILTER (WHERE x.state = 'output'),
           array_agg(x.run_id) FILTER (WHERE x.state = 'output'),
           array_agg(x.output) FILTER (WHERE x.state = 'output'),
           array_agg(x.error) FILTER (WHERE x.state = 'output'),
           array_agg(x.tenant_id) FILTER (WHERE x.map IS NOT NULL),
           array_agg(x.run_id) FILTER (WHERE x.map IS NOT NULL),
           array_agg(x.version_id) FILTER (WHERE x.map IS NOT NULL),
           array_agg(x.ordinal) FILTER (WHERE x.map IS NOT NULL),
           array_agg(x.map) FILTER (WHERE x.map IS NOT NULL)
      INTO d_tenants, d_runs, d_versions, d_ordinals, d_states, o_tenants, o_runs, o_outputs, o_errors,
           m_tenants, m_runs, m_versions, m_ordinals, m_values
      FROM (SELECT d.tenant_id, d.run_id, d.version_id, d.ordinal, d.state, NULL::text AS output, NULL::text AS error,
                   CASE WHEN d.verdict = 'map' THEN d.value END AS map
              FROM done d
            UNION ALL
            SELECT t.tenant_id, t.run_id, NULL, t.ordinal, 'output',
                   CASE WHEN t.verdict = 'output' THEN t.value END, CASE WHEN t.verdict = 'error' THEN t.value END,
                   NULL
              FROM taken t WHERE t.ordinal = -1) x;

    -- maps first: what propagates may close their runs, and must find them begun
    IF m_runs IS NOT NULL THEN
        PERFORM engine_map_begin(m_tenants, m_runs, m_versions, m_ordinals, m_values, v_now);
    END IF;
    IF 'begin' = ANY (p_verdicts) THEN
        PERFORM engine_cache_begin(p_tenants, p_runs, p_ordinals, p_batches, p_verdicts, v_now);
    END IF;
    IF d_runs IS NOT NULL THEN
        PERFORM engine_propagate(d_tenants, d_runs, d_versions, d_ordinals, d_states, v_now);
    END IF;
    IF o_runs IS NOT NULL THEN
        PERFORM engine_finish(o_tenants, o_runs, o_outputs, o_errors, v_now);
    END IF;
END
$$;
