-- Purpose: carry ended steps to what depends on them: count down parents, ready or skip children
--          (and theirs), count the runs' steps, close runs that fail fast, end runs that are empty.
-- Guard:   under the tenants' mutexes; only `blocked` children move.
-- Input:   one entry for each step (batch 0) that has just ended (its row is already written).
CREATE OR REPLACE FUNCTION engine_propagate(
    p_tenants int[], p_runs uuid[], p_versions bigint[], p_ordinals int[], p_states text[], p_now timestamptz
) RETURNS void LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    v_us bigint := engine_micros(p_now);
    d_tenants int[] := p_tenants;
    d_runs uuid[] := p_runs;
    d_versions bigint[] := p_versions;
    d_ordinals int[] := p_ordinals;
    d_states text[] := p_states;
    f_tenants int[];
    f_runs uuid[];
    x_runs uuid[];
    x_tenants int[];
BEGIN
    IF 'failed' = ANY (p_states) THEN
        -- one with a compensation has not ended before that has
        SELECT * INTO d_tenants, d_runs, d_versions, d_ordinals, d_states
          FROM engine_compensate(p_tenants, p_runs, p_versions, p_ordinals, p_states, p_now);
    END IF;
    -- who waited for a cached output of these ends with them
    IF EXISTS (SELECT 1 FROM cache_flight f WHERE f.tenant_id = ANY (p_tenants)) THEN
        SELECT d_tenants || c.o_tenants, d_runs || c.o_runs, d_versions || c.o_versions,
               d_ordinals || c.o_ordinals, d_states || c.o_states
          INTO d_tenants, d_runs, d_versions, d_ordinals, d_states
          FROM engine_cache_land(d_tenants, d_runs, d_ordinals, p_now) c;
    END IF;
    WHILE cardinality(d_runs) > 0 LOOP
        WITH counted AS (
            UPDATE run r SET
                open_count = r.open_count - g.n,
                succeeded_count = r.succeeded_count + g.ok,
                failed_count = r.failed_count + g.failed,
                skipped_count = r.skipped_count + g.skipped,
                cancelled_count = r.cancelled_count + (g.n - g.ok - g.failed - g.skipped)
              FROM (SELECT d.run_id, count(*)::int AS n,
                           (count(*) FILTER (WHERE d.state = 'succeeded'))::int AS ok,
                           (count(*) FILTER (WHERE d.state = 'failed'))::int AS failed,
                           (count(*) FILTER (WHERE d.state = 'skipped'))::int AS skipped
                      FROM unnest(d_runs, d_states) AS d (run_id, state) GROUP BY d.run_id) g
              CROSS JOIN LATERAL (SELECT o.ctid AS tid FROM run o WHERE o.id = g.run_id OFFSET 0) o
             WHERE r.ctid = o.tid
            RETURNING r.tenant_id, r.id, r.open_count, r.fail_fast, r.closing, g.failed AS failed_now
        )
        SELECT array_agg(c.tenant_id) FILTER (WHERE c.open_count = 0),
               array_agg(c.id) FILTER (WHERE c.open_count = 0),
               array_agg(c.tenant_id) FILTER (WHERE c.fail_fast AND c.failed_now > 0 AND c.closing IS NULL AND c.open_count > 0),
               array_agg(c.id) FILTER (WHERE c.fail_fast AND c.failed_now > 0 AND c.closing IS NULL AND c.open_count > 0)
          INTO f_tenants, f_runs, x_tenants, x_runs
          FROM counted c;

        IF x_runs IS NOT NULL THEN
            -- a failure that a child under one_failed may still answer does not close the run
            SELECT array_agg(x.tenant_id), array_agg(x.run_id) INTO x_tenants, x_runs
              FROM unnest(x_tenants, x_runs) AS x (tenant_id, run_id)
             WHERE EXISTS (
                SELECT 1 FROM unnest(d_runs, d_versions, d_ordinals, d_states) AS d (run_id, version_id, ordinal, state)
                  JOIN version_step v ON v.version_id = d.version_id AND v.ordinal = d.ordinal
                 WHERE d.run_id = x.run_id AND d.state = 'failed'
                   AND NOT EXISTS (
                        SELECT 1 FROM unnest(v.children) AS c (ordinal)
                          JOIN version_step cv ON cv.version_id = d.version_id AND cv.ordinal = c.ordinal
                         WHERE cv.rule = 'one_failed'));
        END IF;

        WITH base AS MATERIALIZED (
            SELECT l.tenant_id, l.seq FROM tenant_load l WHERE l.tenant_id = ANY (d_tenants)
        ), edge AS (
            SELECT d.tenant_id, d.run_id, c.ordinal,
                   count(*)::int AS n,
                   (count(*) FILTER (WHERE d.state = 'succeeded'))::int AS ok,
                   (count(*) FILTER (WHERE d.state = 'failed'))::int AS failed,
                   (count(*) FILTER (WHERE d.state = 'skipped'))::int AS skipped
              FROM unnest(d_tenants, d_runs, d_versions, d_ordinals, d_states)
                   AS d (tenant_id, run_id, version_id, ordinal, state)
              CROSS JOIN LATERAL (
                  SELECT o.children FROM version_step o
                   WHERE o.version_id = d.version_id AND o.ordinal = d.ordinal OFFSET 0) v
              CROSS JOIN LATERAL unnest(v.children) AS c (ordinal)
             GROUP BY d.tenant_id, d.run_id, c.ordinal
        ), judged AS MATERIALIZED (
            SELECT e.*, s.tid, s.control,
                   engine_verdict(s.rule, s.parents_total, s.parents_left - e.n, s.parents_ok + e.ok,
                                  s.parents_failed + e.failed, s.parents_skipped + e.skipped) AS verdict
              FROM edge e
              CROSS JOIN LATERAL (
                  SELECT o.ctid AS tid, o.control, o.rule, o.parents_total, o.parents_left, o.parents_ok,
                         o.parents_failed, o.parents_skipped
                    FROM step_run o
                   WHERE o.tenant_id = e.tenant_id AND o.run_id = e.run_id AND o.ordinal = e.ordinal
                     AND o.batch = 0 AND coalesce(o.state, '') = 'blocked'
                  OFFSET 0) s
        ), moved AS (
            UPDATE step_run s SET
                parents_left = s.parents_left - j.n,
                parents_ok = s.parents_ok + j.ok,
                parents_failed = s.parents_failed + j.failed,
                parents_skipped = s.parents_skipped + j.skipped,
                state = CASE j.verdict WHEN 'wait' THEN 'blocked' WHEN 'ready' THEN 'ready' ELSE 'skipped' END,
                parked = CASE WHEN j.verdict = 'ready' AND j.control THEN 'control' END,
                ready_at = CASE WHEN j.verdict = 'ready' THEN p_now END,
                rank = CASE WHEN j.verdict = 'ready' THEN v_us - s.priority * 60000000::bigint ELSE s.rank END,
                reason = CASE WHEN j.verdict NOT IN ('wait', 'ready') THEN j.verdict END,
                finished_at = CASE WHEN j.verdict NOT IN ('wait', 'ready') THEN p_now END
              FROM judged j
             WHERE s.ctid = j.tid
            RETURNING s.tenant_id, s.run_id, s.version_id, s.ordinal, s.state, s.parked, s.reason
        ), told AS (
            INSERT INTO event (tenant_id, seq, at, type, run_id, ordinal, batch, data)
            SELECT m.tenant_id, (SELECT b.seq FROM base b WHERE b.tenant_id = m.tenant_id) + row_number() OVER (PARTITION BY m.tenant_id ORDER BY m.run_id, m.ordinal),
                   p_now, 'step.' || m.state, m.run_id, m.ordinal, 0,
                   CASE WHEN m.reason IS NOT NULL THEN '{"reason":"' || m.reason || '"}' END
              FROM moved m
             WHERE m.state <> 'blocked'
        ), asked AS (
            INSERT INTO control (tenant_id, run_id, ordinal, batch, kind, created_at)
            SELECT m.tenant_id, m.run_id, m.ordinal, 0, 'condition', p_now FROM moved m WHERE m.parked = 'control'
        ), load AS (
            UPDATE tenant_load l SET
                seq = l.seq + g.n,
                ready_count = l.ready_count + g.ready,
                control_count = l.control_count + g.asked
              FROM (SELECT tenant_id, count(*) AS n,
                           count(*) FILTER (WHERE state = 'ready' AND parked IS NULL) AS ready,
                           count(*) FILTER (WHERE parked = 'control') AS asked
                      FROM moved WHERE state <> 'blocked' GROUP BY tenant_id) g
             CROSS JOIN LATERAL (SELECT o.ctid AS tid FROM tenant_load o WHERE o.tenant_id = g.tenant_id OFFSET 0) o
             WHERE l.ctid = o.tid
        )
        SELECT coalesce(array_agg(m.tenant_id), '{}'), coalesce(array_agg(m.run_id), '{}'),
               coalesce(array_agg(m.version_id), '{}'), coalesce(array_agg(m.ordinal), '{}'),
               coalesce(array_agg(m.state), '{}')
          INTO d_tenants, d_runs, d_versions, d_ordinals, d_states
          FROM moved m WHERE m.state = 'skipped';

        IF f_runs IS NOT NULL THEN
            PERFORM engine_finish(f_tenants, f_runs, NULL, NULL, p_now);
        END IF;
        IF x_runs IS NOT NULL THEN
            PERFORM engine_close(x_tenants, x_runs, 'fail_fast', NULL, p_now);
        END IF;
    END LOOP;
END
$$;
