-- Purpose: write what became of attempts, give back what they held, ready and skip what follows.
-- Guard:   takes the tenants' mutexes; counts only where the step is running, by this worker, with
--          the same epoch; anything else is a late result: refused and counted.
-- Input:   parallel arrays, one entry per attempt.  outcome: succeeded, failed, skipped, cancelled,
--          waiting (a retry or snooze in `delay` seconds), ready (given back), lost (its process
--          died; `error` and `output`, the fallback, are for the third time).  `counts`: whether the
--          attempt counts.  `held`: the code still runs and keeps its connection; it is never `ready`, but
--          waits for engine_unhold.  `lags`: seconds since the code ended, null where nobody knows.
-- Returns: the indexes (from 1) of refused entries; queues to wake as (0, queue).
CREATE OR REPLACE FUNCTION engine_complete(
    p_worker int, p_tenants int[], p_runs uuid[], p_ordinals int[], p_batches int[], p_epochs int[],
    p_outcomes text[], p_outputs text[], p_errors text[], p_reasons text[], p_args text[],
    p_delays double precision[], p_seconds double precision[], p_counts boolean[], p_held boolean[],
    p_handled boolean[], p_lags double precision[]
) RETURNS TABLE (refused int, wake text) LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
#variable_conflict use_column
DECLARE
    v_us bigint;
    v_came timestamptz := clock_timestamp();
    v_now timestamptz;
    v_waited double precision;
    v_taken int[];
    v_limited boolean;
    v_back bigint;
    d_tenants int[];
    d_runs uuid[];
    d_versions bigint[];
    d_ordinals int[];
    d_states text[];
    u_tenants int[];
    u_runs uuid[];
    m_tenants int[];
    m_runs uuid[];
    m_ordinals int[];
    m_batches int[];
    v_places int[];
    c_tenants int[];
    c_runs uuid[];
    c_ordinals int[];
    c_batches int[];
BEGIN
    PERFORM engine_lock(p_tenants);
    v_now := clock_timestamp();
    v_us := engine_micros(v_now);
    v_waited := extract(epoch FROM v_now - v_came);

    WITH base AS MATERIALIZED (
        SELECT l.tenant_id, l.seq FROM tenant_load l WHERE l.tenant_id = ANY (p_tenants)
    ), given AS (
        SELECT * FROM unnest(p_tenants, p_runs, p_ordinals, p_batches, p_epochs, p_outcomes, p_outputs, p_errors,
                             p_reasons, p_args, p_delays, p_seconds, p_counts, p_held, p_handled, p_lags) WITH ORDINALITY
               AS g (tenant_id, run_id, ordinal, batch, epoch, outcome, output, error, reason, args, delay, seconds,
                     counts, held, handled, lag, idx)
    ), of AS MATERIALIZED (
        -- each run once: its row has as many versions as steps of it ended of late
        SELECT r.* FROM (SELECT DISTINCT g.run_id FROM given g) d
         CROSS JOIN LATERAL (SELECT o.id, o.closing FROM run o WHERE o.id = d.run_id OFFSET 0) r
    ), judged AS (
        SELECT g.*, s.tid, s.charged_s, s.limited, s.started_at, g.outcome = 'lost' AS lost,
               CASE WHEN g.outcome IN ('waiting', 'ready', 'lost') AND r.closing IS NOT NULL AND s.rule <> 'always'
                    THEN 'cancelled'
                    WHEN g.outcome = 'lost' THEN
                        CASE WHEN s.losses < 2 THEN 'ready' WHEN g.output IS NOT NULL THEN 'succeeded' ELSE 'failed' END
                    ELSE g.outcome END AS state,
               g.outcome = 'waiting' AND coalesce(g.reason, '') = 'repeat' AS repeats,
               s.pool_id
          FROM given g
          CROSS JOIN LATERAL (
              SELECT o.ctid AS tid, o.charged_s, o.limited, o.pool_id, o.started_at, o.rule, o.losses
                FROM step_run o
               WHERE o.tenant_id = g.tenant_id AND o.run_id = g.run_id AND o.ordinal = g.ordinal
                 AND o.batch = g.batch AND o.epoch = g.epoch AND o.worker_id = p_worker
                 -- coalesce: by the key, never by the index of running steps
                 AND coalesce(o.state, '') = 'running'
              OFFSET 0) s
          JOIN of r ON r.id = g.run_id
    ), done AS (
        UPDATE step_run s SET
            state = j.state,
            attempts = CASE WHEN j.repeats THEN 0 ELSE s.attempts + j.counts::int END,
            repeats = s.repeats + j.repeats::int,
            losses = s.losses + j.lost::int,
            output = CASE WHEN j.state = 'succeeded' THEN j.output END,
            error = CASE WHEN j.state IN ('waiting', 'ready') AND (j.lost OR j.error IS NULL) THEN s.error ELSE j.error END,
            -- a map's rows keep theirs for as long as they are to run: nothing else has the items
            args = CASE WHEN j.state = 'waiting' OR j.state = 'ready' AND (s.batch > 0 OR s.batch = -3)
                             -- and failed ones for a compensation that may have them tried again
                             OR s.batch > 0 AND (j.state IN ('failed', 'cancelled') OR j.args IS NOT NULL)
                        THEN coalesce(j.args, s.args) END,
            -- of a compensation that ended well: what it answered
            reason = CASE WHEN j.state = 'skipped' OR s.batch = -1 AND j.state = 'succeeded' THEN j.reason END,
            handled = j.handled OR j.lost AND j.state = 'succeeded',
            wait_reason = CASE WHEN j.state = 'waiting' THEN j.reason END,
            due_at = CASE WHEN j.state = 'waiting' AND NOT j.held
                          THEN v_now + j.delay * interval '1 second' END,
            ready_at = CASE WHEN j.state = 'ready' THEN v_now ELSE s.ready_at END,
            finished_at = CASE WHEN j.state NOT IN ('waiting', 'ready') THEN v_now END,
            worker_id = CASE WHEN j.state = 'ready' THEN NULL ELSE s.worker_id END,
            charged_s = CASE WHEN j.state = 'waiting' OR s.batch = -1 THEN coalesce(j.delay, 0) ELSE 0 END,
            rank = CASE WHEN j.state = 'ready' THEN v_us - s.priority * 60000000::bigint ELSE s.rank END,
            suspect = (s.suspect OR j.lost) AND j.state IN ('ready', 'waiting')
          FROM judged j
         WHERE s.ctid = j.tid
        RETURNING s.tenant_id, s.run_id, s.version_id, s.ordinal, s.batch, s.state, s.attempts, s.due_at, s.queue,
                  s.reason, s.error, j.idx, j.held, j.counts, j.lost, j.limited, j.pool_id, j.started_at, j.seconds - j.charged_s AS owed,
                  j.reason AS why, j.lag + v_waited AS lag
    ), said AS (
        SELECT d.*, CASE WHEN d.state = 'waiting' AND d.counts THEN 'step.retrying' ELSE 'step.' || d.state END AS type, 1 AS place
          FROM done d
        UNION ALL
        SELECT d.*, 'step.lost', 0 FROM done d WHERE d.lost
    ), told AS (
        INSERT INTO event (tenant_id, seq, at, type, run_id, ordinal, batch, attempt, worker_id, value_s, lag_s, data)
        SELECT d.tenant_id, (SELECT b.seq FROM base b WHERE b.tenant_id = d.tenant_id) + row_number() OVER (PARTITION BY d.tenant_id ORDER BY d.idx, d.place), v_now,
               d.type, d.run_id, d.ordinal, d.batch, d.attempts + (NOT d.counts)::int,
               -- of a lost attempt `step.lost` tells the seconds; what its step becomes, not once more
               CASE WHEN d.place = 0 OR NOT d.lost THEN p_worker END,
               CASE WHEN d.place = 0 OR NOT d.lost THEN extract(epoch FROM v_now - d.started_at) END,
               CASE WHEN d.place = 0 OR NOT d.lost THEN d.lag END,
               CASE WHEN d.state = 'skipped' THEN json_build_object('reason', d.reason)::text
                    WHEN d.lost AND d.state = 'ready' THEN NULL
                    WHEN d.state = 'ready' THEN '{"given_back":true}'
                    WHEN d.state = 'waiting' AND NOT d.counts THEN json_build_object('reason', d.why, 'until', d.due_at)::text
                    ELSE d.error END
          FROM said d
    ), hold AS (
        INSERT INTO hold (tenant_id, run_id, ordinal, batch, worker_id, pool_id, created_at)
        SELECT d.tenant_id, d.run_id, d.ordinal, d.batch, p_worker, d.pool_id, v_now FROM done d WHERE d.held
    ), load AS (
        UPDATE tenant_load l SET
            seq = l.seq + g.n,
            in_use = l.in_use - g.back,
            ready_count = l.ready_count + g.ready,
            vtime = l.vtime + g.owed / q.weight
          FROM (SELECT tenant_id, count(*) + count(*) FILTER (WHERE lost) AS n, count(*) FILTER (WHERE NOT held) AS back,
                       count(*) FILTER (WHERE state = 'ready') AS ready, sum(owed) AS owed
                  FROM done GROUP BY tenant_id) g
          CROSS JOIN LATERAL (SELECT o.weight FROM quota o WHERE o.tenant_id = g.tenant_id OFFSET 0) q
          CROSS JOIN LATERAL (SELECT o.ctid AS tid FROM tenant_load o WHERE o.tenant_id = g.tenant_id OFFSET 0) o
         WHERE l.ctid = o.tid
    )
    SELECT coalesce(array_agg(d.idx::int), '{}'), bool_or(d.limited), count(*) FILTER (WHERE NOT d.held),
           array_agg(d.tenant_id) FILTER (WHERE d.state NOT IN ('waiting', 'ready') AND d.batch = 0),
           array_agg(d.run_id) FILTER (WHERE d.state NOT IN ('waiting', 'ready') AND d.batch = 0),
           array_agg(d.version_id) FILTER (WHERE d.state NOT IN ('waiting', 'ready') AND d.batch = 0),
           array_agg(d.ordinal) FILTER (WHERE d.state NOT IN ('waiting', 'ready') AND d.batch = 0),
           array_agg(d.state) FILTER (WHERE d.state NOT IN ('waiting', 'ready') AND d.batch = 0),
           array_agg(d.tenant_id) FILTER (WHERE d.state NOT IN ('waiting', 'ready') AND d.batch IN (-1, -2)),
           array_agg(d.run_id) FILTER (WHERE d.state NOT IN ('waiting', 'ready') AND d.batch IN (-1, -2)),
           array_agg(d.ordinal) FILTER (WHERE d.state NOT IN ('waiting', 'ready') AND d.batch IN (-1, -2)),
           array_agg(d.batch) FILTER (WHERE d.state NOT IN ('waiting', 'ready') AND d.batch IN (-1, -2)),
           array_agg(d.tenant_id) FILTER (WHERE d.limited AND NOT d.held),
           array_agg(d.run_id) FILTER (WHERE d.limited AND NOT d.held),
           array_agg(d.tenant_id) FILTER (WHERE d.batch > 0 OR d.batch = -3),
           array_agg(d.run_id) FILTER (WHERE d.batch > 0 OR d.batch = -3),
           array_agg(d.ordinal) FILTER (WHERE d.batch > 0 OR d.batch = -3),
           array_agg(d.batch) FILTER (WHERE d.batch > 0 OR d.batch = -3),
           array_agg(d.pool_id) FILTER (WHERE d.pool_id IS NOT NULL AND NOT d.held)
      INTO v_taken, v_limited, v_back, d_tenants, d_runs, d_versions, d_ordinals, d_states,
           c_tenants, c_runs, c_ordinals, c_batches, u_tenants, u_runs,
           m_tenants, m_runs, m_ordinals, m_batches, v_places
      FROM done d;

    IF v_places IS NOT NULL THEN
        PERFORM engine_pool_give(v_places);
    END IF;
    IF v_back > 0 THEN
        UPDATE server_load SET amount = amount + v_back WHERE slot = p_worker % 16;
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

    IF cardinality(v_taken) < cardinality(p_runs) THEN
        UPDATE worker SET refused_count = refused_count + cardinality(p_runs) - cardinality(v_taken)
         WHERE id = p_worker;
        RETURN QUERY SELECT i, NULL::text FROM generate_series(1, cardinality(p_runs)) AS i WHERE i <> ALL (v_taken);
    END IF;
END
$$;
