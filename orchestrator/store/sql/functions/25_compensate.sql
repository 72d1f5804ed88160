-- Purpose: steps that have failed for good and have a compensation wait for it: they are not ended.
-- Index:   version_call's key; step_run's key.
-- Guard:   under the tenants' mutexes; not in a closing run (save `always` steps), and not after the
--          compensation has declined.  Code that still runs (a hold) is awaited first.
-- Input:   one entry for each step run that has just ended, its row and its event written at p_now.
-- Returns: those entries that have ended indeed.
CREATE OR REPLACE FUNCTION engine_compensate(
    p_tenants int[], p_runs uuid[], p_versions bigint[], p_ordinals int[], p_states text[], p_now timestamptz,
    OUT o_tenants int[], OUT o_runs uuid[], OUT o_versions bigint[], OUT o_ordinals int[], OUT o_states text[]
) LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    v_us bigint := engine_micros(p_now);
    v_begun int[];
BEGIN
    SELECT array_agg(d.idx::int) INTO v_begun
      FROM unnest(p_tenants, p_runs, p_versions, p_ordinals, p_states) WITH ORDINALITY
           AS d (tenant_id, run_id, version_id, ordinal, state, idx)
      CROSS JOIN LATERAL (
          SELECT 1 FROM version_call o
           WHERE o.version_id = d.version_id AND o.ordinal = d.ordinal AND o.batch = -1 OFFSET 0) c
      CROSS JOIN LATERAL (SELECT o.closing FROM run o WHERE o.id = d.run_id OFFSET 0) r
      CROSS JOIN LATERAL (
          SELECT 1 FROM step_run o
           WHERE o.tenant_id = d.tenant_id AND o.run_id = d.run_id AND o.ordinal = d.ordinal AND o.batch = 0
             AND coalesce(o.state, '') = 'failed' AND (r.closing IS NULL OR o.rule = 'always') OFFSET 0) s
     WHERE d.state = 'failed'
       AND NOT EXISTS (
            SELECT 1 FROM step_run o
             WHERE o.run_id = d.run_id AND o.ordinal = d.ordinal AND o.batch = -1
               AND o.reason IS DISTINCT FROM 'retry');
    IF v_begun IS NULL THEN
        o_tenants := p_tenants; o_runs := p_runs; o_versions := p_versions;
        o_ordinals := p_ordinals; o_states := p_states;
        RETURN;
    END IF;

    WITH base AS MATERIALIZED (
        SELECT l.tenant_id, l.seq FROM tenant_load l WHERE l.tenant_id = ANY (p_tenants)
    ), begun AS (
        SELECT p_tenants[i] AS tenant_id, p_runs[i] AS run_id, p_versions[i] AS version_id, p_ordinals[i] AS ordinal,
               c.handler_id, c.queue, s.*,
               -- of a map the code of any of its batches, or of its source
               EXISTS (SELECT 1 FROM hold h
                        WHERE h.run_id = p_runs[i] AND h.ordinal = p_ordinals[i] AND h.batch NOT IN (-1, -2)) AS held
          FROM unnest(v_begun) AS n (i)
          CROSS JOIN LATERAL (
              SELECT o.handler_id, o.queue FROM version_call o
               WHERE o.version_id = p_versions[i] AND o.ordinal = p_ordinals[i] AND o.batch = -1 OFFSET 0) c
          CROSS JOIN LATERAL (
              SELECT o.ctid AS tid, o.rule, o.limited, o.priority FROM step_run o
               WHERE o.run_id = p_runs[i] AND o.ordinal = p_ordinals[i] AND o.batch = 0 OFFSET 0) s
    ), waits AS (
        UPDATE step_run s SET state = 'waiting', wait_reason = 'compensate', due_at = NULL, parked = NULL,
                              finished_at = NULL
          FROM begun b
         WHERE s.ctid = b.tid
    ), again AS (
        -- the attempt has failed, the step has not: nobody has read this event yet
        UPDATE event e SET type = 'step.retrying'
          FROM begun b
         WHERE e.at = p_now AND e.run_id = b.run_id AND e.ordinal = b.ordinal AND e.batch = 0
           AND e.type = 'step.failed'
    ), made AS (
        INSERT INTO step_run AS s (tenant_id, run_id, ordinal, batch, version_id, handler_id, queue, rule, state,
                                   limited, rank, priority, ready_at, wait_reason)
        SELECT b.tenant_id, b.run_id, b.ordinal, -1, b.version_id, b.handler_id, b.queue, b.rule,
               CASE WHEN b.held THEN 'waiting' ELSE 'ready' END,
               b.limited, v_us - b.priority * 60000000::bigint, b.priority, p_now,
               CASE WHEN b.held THEN 'retry' END
          FROM begun b
        ON CONFLICT (run_id, ordinal, batch) DO UPDATE SET
            state = excluded.state, attempts = 0, losses = 0, suspect = false, parked = NULL, worker_id = NULL,
            rank = excluded.rank, ready_at = excluded.ready_at, started_at = NULL, finished_at = NULL, due_at = NULL,
            wait_reason = excluded.wait_reason, reason = NULL, handled = false, charged_s = 0,
            args = NULL, output = NULL, error = NULL
        RETURNING s.tenant_id, s.run_id, s.ordinal, s.state
    ), said AS (
        SELECT b.tenant_id, b.run_id, b.ordinal, 0 AS batch, 'waiting' AS state, '{"reason":"compensate"}' AS data
          FROM begun b
        UNION ALL
        SELECT m.tenant_id, m.run_id, m.ordinal, -1, m.state, NULL FROM made m WHERE m.state = 'ready'
    ), told AS (
        INSERT INTO event (tenant_id, seq, at, type, run_id, ordinal, batch, data)
        SELECT d.tenant_id, (SELECT b.seq FROM base b WHERE b.tenant_id = d.tenant_id) + row_number() OVER (PARTITION BY d.tenant_id ORDER BY d.run_id, d.ordinal, d.batch DESC),
               p_now, 'step.' || d.state, d.run_id, d.ordinal, d.batch, d.data
          FROM said d
    )
    UPDATE tenant_load l SET seq = l.seq + g.n, ready_count = l.ready_count + g.ready
      FROM (SELECT tenant_id, count(*) AS n, count(*) FILTER (WHERE state = 'ready') AS ready
              FROM said GROUP BY tenant_id) g
     CROSS JOIN LATERAL (SELECT o.ctid AS tid FROM tenant_load o WHERE o.tenant_id = g.tenant_id OFFSET 0) o
     WHERE l.ctid = o.tid;

    SELECT coalesce(array_agg(d.tenant_id ORDER BY d.idx), '{}'), coalesce(array_agg(d.run_id ORDER BY d.idx), '{}'),
           coalesce(array_agg(d.version_id ORDER BY d.idx), '{}'), coalesce(array_agg(d.ordinal ORDER BY d.idx), '{}'),
           coalesce(array_agg(d.state ORDER BY d.idx), '{}')
      INTO o_tenants, o_runs, o_versions, o_ordinals, o_states
      FROM unnest(p_tenants, p_runs, p_versions, p_ordinals, p_states) WITH ORDINALITY
           AS d (tenant_id, run_id, version_id, ordinal, state, idx)
     WHERE d.idx <> ALL (v_begun);
END
$$;

-- Purpose: compensations have ended: their steps go on with a value (`continue`), get one more attempt
--          (`retry`, at most 3), or stay failed.
-- Guard:   under the tenants' mutexes; only steps that wait for their compensation.
-- Input:   the ended rows of batch -1; `reason` says what the handler answered, `charged_s` the delay
--          that it asked for before a retry.
CREATE OR REPLACE FUNCTION engine_compensated(
    p_tenants int[], p_runs uuid[], p_ordinals int[], p_now timestamptz
) RETURNS void LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    v_us bigint := engine_micros(p_now);
    d_tenants int[];
    d_runs uuid[];
    d_versions bigint[];
    d_ordinals int[];
    d_states text[];
    m_tenants int[];
    m_runs uuid[];
    m_ordinals int[];
BEGIN
    WITH base AS MATERIALIZED (
        SELECT l.tenant_id, l.seq FROM tenant_load l WHERE l.tenant_id = ANY (p_tenants)
    ), judged AS MATERIALIZED (
        SELECT d.tenant_id, d.run_id, d.ordinal, s.tid, c.tid AS call_tid, c.output, c.charged_s AS delay,
               s.control AND s.started_at IS NULL AS asks,
               -- a signal or child run is waited for once more: no worker has a handler to call
               s.handler_id IS NULL AS waits,
               -- a map that has begun goes on with what has failed
               c.charged_s = 0 AND s.maps AS maps,
               CASE WHEN c.state = 'succeeded' AND c.reason = 'continue' THEN 'succeeded'
                    WHEN c.state = 'succeeded' AND c.reason = 'retry' AND s.extra_attempts < 3
                         AND (r.closing IS NULL OR s.rule = 'always')
                    THEN CASE WHEN c.charged_s > 0 OR s.maps THEN 'waiting' ELSE 'ready' END
                    ELSE 'failed' END AS state
          FROM unnest(p_tenants, p_runs, p_ordinals) AS d (tenant_id, run_id, ordinal)
          CROSS JOIN LATERAL (SELECT o.closing FROM run o WHERE o.id = d.run_id OFFSET 0) r
          CROSS JOIN LATERAL (
              SELECT o.ctid AS tid, o.state, o.reason, o.output, o.charged_s FROM step_run o
               WHERE o.tenant_id = d.tenant_id AND o.run_id = d.run_id AND o.ordinal = d.ordinal AND o.batch = -1
              OFFSET 0) c
          CROSS JOIN LATERAL (
              SELECT o.ctid AS tid, o.extra_attempts, o.rule, o.control, o.started_at, o.handler_id,
                     o.started_at IS NOT NULL AND EXISTS (
                         SELECT 1 FROM map_state m WHERE m.run_id = o.run_id AND m.ordinal = o.ordinal) AS maps
                FROM step_run o
               WHERE o.tenant_id = d.tenant_id AND o.run_id = d.run_id AND o.ordinal = d.ordinal AND o.batch = 0
                 AND coalesce(o.state, '') = 'waiting' AND o.wait_reason = 'compensate'
              OFFSET 0) s
    ), noted AS (
        UPDATE step_run s SET reason = CASE j.state WHEN 'succeeded' THEN 'continue' WHEN 'failed' THEN 'declined' ELSE 'retry' END,
                              charged_s = 0
          FROM judged j
         WHERE s.ctid = j.call_tid
    ), done AS (
        UPDATE step_run s SET
            state = j.state,
            output = CASE WHEN j.state = 'succeeded' THEN j.output END,
            handled = j.state = 'succeeded',
            extra_attempts = s.extra_attempts + (j.state IN ('ready', 'waiting'))::int,
            parked = CASE WHEN j.state = 'ready' AND (j.asks OR j.waits) THEN 'control' END,
            wait_reason = CASE WHEN j.state = 'waiting' THEN CASE WHEN j.maps THEN 'map' ELSE 'retry' END END,
            due_at = CASE WHEN j.state = 'waiting' AND NOT j.maps THEN p_now + j.delay * interval '1 second' END,
            charged_s = CASE WHEN j.state = 'waiting' THEN j.delay ELSE 0 END,
            ready_at = CASE WHEN j.state = 'ready' THEN p_now ELSE s.ready_at END,
            rank = CASE WHEN j.state = 'ready' THEN v_us - s.priority * 60000000::bigint ELSE s.rank END,
            worker_id = CASE WHEN j.state = 'ready' THEN NULL ELSE s.worker_id END,
            finished_at = CASE WHEN j.state IN ('succeeded', 'failed') THEN p_now END
          FROM judged j
         WHERE s.ctid = j.tid
        RETURNING s.tenant_id, s.run_id, s.version_id, s.ordinal, s.state, s.parked, s.attempts, s.error, s.due_at, s.wait_reason,
                  j.asks
    ), told AS (
        INSERT INTO event (tenant_id, seq, at, type, run_id, ordinal, batch, attempt, data)
        SELECT d.tenant_id, (SELECT b.seq FROM base b WHERE b.tenant_id = d.tenant_id) + row_number() OVER (PARTITION BY d.tenant_id ORDER BY d.run_id, d.ordinal),
               p_now, 'step.' || CASE WHEN d.wait_reason = 'map' THEN 'running' ELSE d.state END,
               d.run_id, d.ordinal, 0, d.attempts + (d.state IN ('ready', 'waiting'))::int,
               CASE WHEN d.wait_reason = 'map' THEN NULL
                    WHEN d.state = 'waiting' THEN json_build_object('reason', 'retry', 'until', d.due_at)::text
                    WHEN d.state <> 'ready' THEN d.error END
          FROM done d
    ), asked AS (
        INSERT INTO control (tenant_id, run_id, ordinal, batch, kind, created_at)
        SELECT d.tenant_id, d.run_id, d.ordinal, 0, CASE WHEN d.asks THEN 'condition' ELSE 'again' END, p_now
          FROM done d WHERE d.parked = 'control'
    ), load AS (
        UPDATE tenant_load l SET
            seq = l.seq + g.n,
            ready_count = l.ready_count + g.ready,
            control_count = l.control_count + g.asked
          FROM (SELECT tenant_id, count(*) AS n, count(*) FILTER (WHERE parked = 'control') AS asked,
                       count(*) FILTER (WHERE state = 'ready' AND parked IS NULL) AS ready
                  FROM done GROUP BY tenant_id) g
         CROSS JOIN LATERAL (SELECT o.ctid AS tid FROM tenant_load o WHERE o.tenant_id = g.tenant_id OFFSET 0) o
         WHERE l.ctid = o.tid
    )
    SELECT array_agg(d.tenant_id) FILTER (WHERE d.finished), array_agg(d.run_id) FILTER (WHERE d.finished),
           array_agg(d.version_id) FILTER (WHERE d.finished), array_agg(d.ordinal) FILTER (WHERE d.finished),
           array_agg(d.state) FILTER (WHERE d.finished),
           array_agg(d.tenant_id) FILTER (WHERE d.wait_reason = 'map'),
           array_agg(d.run_id) FILTER (WHERE d.wait_reason = 'map'),
           array_agg(d.ordinal) FILTER (WHERE d.wait_reason = 'map')
      INTO d_tenants, d_runs, d_versions, d_ordinals, d_states, m_tenants, m_runs, m_ordinals
      FROM (SELECT o.*, o.state IN ('succeeded', 'failed') AS finished FROM done o) d;
    IF m_runs IS NOT NULL THEN
        PERFORM engine_map_again(m_tenants, m_runs, m_ordinals, p_now);
    END IF;
    IF d_runs IS NOT NULL THEN
        PERFORM engine_map_drop(d_tenants, d_runs, d_ordinals);
        PERFORM engine_propagate(d_tenants, d_runs, d_versions, d_ordinals, d_states, p_now);
    END IF;
END
$$;
