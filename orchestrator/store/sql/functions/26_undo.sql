-- Purpose: what a run's end means for the undo of one of its steps.
-- Model:   orchestrator.domain.undo.is_undoable; a test compares the two.
-- A step that succeeded is undone, and one that had begun and whose end is unknown: it was cut off or
-- its process died.  A handled failure is not, nor an output that came from the cache: nothing was done.
-- `suspect`: its process died and it has not ended since.
CREATE OR REPLACE FUNCTION engine_undoable(
    p_state text, p_handled boolean, p_started boolean, p_suspect boolean, p_error text
) RETURNS boolean LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
    RETURN NOT p_handled AND (
        p_state = 'succeeded'
        OR p_state = 'failed' AND coalesce(p_error::json ->> 'code', '') IN ('timeout', 'heartbeat_timeout', 'lost')
        OR p_state = 'cancelled' AND p_started AND (
            p_suspect OR p_error IS NULL
            OR p_error::json ->> 'code' IN ('timeout', 'heartbeat_timeout', 'lost', 'cancelled', 'upstream')));
END
$$;

-- Purpose: whether anything of a run can be undone.  Index: version_call's and step_run's key.
CREATE OR REPLACE FUNCTION engine_has_undo(p_tenant int, p_run uuid, p_version bigint) RETURNS boolean LANGUAGE plpgsql STABLE
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
BEGIN
    RETURN EXISTS (
        SELECT 1
          FROM (SELECT o.ordinal FROM version_call o WHERE o.version_id = p_version AND o.batch = -2 OFFSET 0) c
          CROSS JOIN LATERAL (
              SELECT 1 FROM step_run o
               WHERE o.tenant_id = p_tenant AND o.run_id = p_run AND o.ordinal = c.ordinal AND o.batch = 0
                 AND engine_undoable(o.state, o.handled OR coalesce(o.reason, '') = 'cached', o.started_at IS NOT NULL, o.suspect, o.error)
              OFFSET 0) s)
        OR EXISTS (SELECT 1 FROM engine_undoable_children(p_tenant, p_run, p_version));
END
$$;

-- Purpose: runs are being undone from now on: those that are to fail (with this error), or on request.
-- Guard:   under the tenants' mutexes; nothing of them can run any more.
CREATE OR REPLACE FUNCTION engine_undo_begin(
    p_tenants int[], p_runs uuid[], p_errors text[], p_actor text, p_now timestamptz
) RETURNS text[] LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
BEGIN
    -- its timeout and deadline have no more to say; neither has a later failure: the error is fixed
    UPDATE run r SET undo_state = 'running', undo_error = NULL, undo_finished_at = NULL,
                     error = coalesce(d.error, r.error), expires_at = NULL
      FROM unnest(p_runs, p_errors) AS d (run_id, error)
      CROSS JOIN LATERAL (SELECT o.ctid AS tid FROM run o WHERE o.id = d.run_id OFFSET 0) o
     WHERE r.ctid = o.tid;
    RETURN engine_undo_start(p_tenants, p_runs, p_actor, p_now);
END
$$;

-- Purpose: make the rows of undos.  Each waits for the undos of all that came after its step; a step
--          between two of them that has none of its own gets a row without a handler, which passes
--          the order on and ends by itself.  Of the others nothing is kept.
-- Guard:   under the tenants' mutexes; only runs that are to be undone and have no such rows.  Code
--          whose attempt is over may still run (a hold): its end is awaited (engine_unhold calls again).
--          What was to be undone may have been undone meanwhile, by hand: such a run has ended at once.
-- Returns: the queues to wake.
CREATE OR REPLACE FUNCTION engine_undo_start(p_tenants int[], p_runs uuid[], p_actor text, p_now timestamptz) RETURNS text[] LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    v_us bigint := engine_micros(p_now);
    v_wake text[];
    c_tenants int[];
    c_runs uuid[];
    c_ordinals int[];
    e_tenants int[];
    e_runs uuid[];
BEGIN
    WITH RECURSIVE base AS MATERIALIZED (
        SELECT l.tenant_id, l.seq FROM tenant_load l WHERE l.tenant_id = ANY (p_tenants)
    ), given AS MATERIALIZED (
        SELECT d.tenant_id, d.run_id, r.*
          FROM (SELECT DISTINCT * FROM unnest(p_tenants, p_runs) AS d (tenant_id, run_id)) d
          CROSS JOIN LATERAL (
              SELECT o.ctid AS tid, o.version_id, o.priority, o.max_parallel IS NOT NULL AS limited FROM run o
               WHERE o.id = d.run_id AND o.undo_state = 'running' AND o.undo_open = 0 OFFSET 0) r
         WHERE NOT EXISTS (SELECT 1 FROM hold h WHERE h.run_id = d.run_id)
    ), eligible AS MATERIALIZED (
        SELECT g.tenant_id, g.run_id, g.version_id, c.*
          FROM given g
          CROSS JOIN LATERAL (
              SELECT o.ordinal, o.handler_id, o.queue FROM version_call o
               WHERE o.version_id = g.version_id AND o.batch = -2 OFFSET 0) c
          CROSS JOIN LATERAL (
              SELECT 1 FROM step_run o
               WHERE o.tenant_id = g.tenant_id AND o.run_id = g.run_id AND o.ordinal = c.ordinal AND o.batch = 0
                 AND engine_undoable(o.state, o.handled OR coalesce(o.reason, '') = 'cached', o.started_at IS NOT NULL, o.suspect, o.error)
              OFFSET 0) s
        UNION ALL
        SELECT g.tenant_id, g.run_id, g.version_id, c.ordinal, NULL, NULL
          FROM given g
          CROSS JOIN LATERAL (
              SELECT DISTINCT x.ordinal FROM engine_undoable_children(g.tenant_id, g.run_id, g.version_id) x) c
    ), relevant AS (
        SELECT e.tenant_id, e.run_id, e.version_id, e.ordinal FROM eligible e
        UNION
        SELECT x.tenant_id, x.run_id, x.version_id, p.ordinal
          FROM relevant x
          CROSS JOIN LATERAL (
              SELECT o.parents FROM version_step o
               WHERE o.version_id = x.version_id AND o.ordinal = x.ordinal OFFSET 0) v
          CROSS JOIN LATERAL unnest(v.parents) AS p (ordinal)
    ), node AS (
        SELECT x.tenant_id, x.run_id, x.version_id, x.ordinal, sum(x.n)::int AS after,
               max(x.handler_id) AS handler_id, max(x.queue) AS queue,
               bool_or(x.n = 0) AND max(x.handler_id) IS NULL AS children
          FROM (SELECT e.tenant_id, e.run_id, e.version_id, e.ordinal, 0 AS n, e.handler_id, e.queue FROM eligible e
                UNION ALL
                SELECT y.tenant_id, y.run_id, y.version_id, p.ordinal, 1, NULL, NULL
                  FROM relevant y
                  CROSS JOIN LATERAL (
                      SELECT o.parents FROM version_step o
                       WHERE o.version_id = y.version_id AND o.ordinal = y.ordinal OFFSET 0) v
                  CROSS JOIN LATERAL unnest(v.parents) AS p (ordinal)) x
         GROUP BY x.tenant_id, x.run_id, x.version_id, x.ordinal
    ), made AS (
        INSERT INTO step_run AS s (tenant_id, run_id, ordinal, batch, version_id, handler_id, queue, rule, state, limited,
                              rank, priority, parents_total, parents_left, ready_at, wait_key, wait_reason)
        SELECT n.tenant_id, n.run_id, n.ordinal, -2, n.version_id, n.handler_id, coalesce(n.queue, ''), 'always',
               CASE WHEN n.after > 0 THEN 'blocked' WHEN n.children THEN 'waiting' ELSE 'ready' END, g.limited,
               v_us - g.priority * 60000000::bigint, g.priority, n.after, n.after,
               CASE WHEN n.after = 0 THEN p_now END,
               CASE WHEN n.children THEN 'children' END, CASE WHEN n.children AND n.after = 0 THEN 'child' END
          FROM given g JOIN node n ON n.run_id = g.run_id
        -- a run that was retried after it had been undone may have kept rows that only passed the order on
        ON CONFLICT (run_id, ordinal, batch) DO UPDATE SET
            handler_id = excluded.handler_id, queue = excluded.queue, state = excluded.state, limited = excluded.limited,
            rank = excluded.rank, priority = excluded.priority, parents_total = excluded.parents_total,
            parents_left = excluded.parents_left, ready_at = excluded.ready_at, parked = NULL, suspect = false,
            attempts = 0, losses = 0, worker_id = NULL, charged_s = 0, started_at = NULL, finished_at = NULL,
            due_at = NULL, wait_key = excluded.wait_key, wait_reason = excluded.wait_reason, reason = NULL, args = NULL, output = NULL, error = NULL
        RETURNING s.tenant_id, s.run_id, s.ordinal, s.state, s.queue
    ), opened AS (
        UPDATE run r SET undo_open = m.n
          FROM given g
          CROSS JOIN LATERAL (SELECT count(*)::int AS n FROM made o WHERE o.run_id = g.run_id OFFSET 0) m
         WHERE r.ctid = g.tid
    ), told AS (
        INSERT INTO event (tenant_id, seq, at, type, run_id, ordinal, batch, actor)
        SELECT m.tenant_id, (SELECT b.seq FROM base b WHERE b.tenant_id = m.tenant_id) + row_number() OVER (PARTITION BY m.tenant_id ORDER BY m.run_id, m.ordinal),
               p_now, 'step.' || m.state, m.run_id, m.ordinal, -2, p_actor
          FROM made m WHERE m.state <> 'blocked'
    ), load AS (
        UPDATE tenant_load l SET seq = l.seq + g.n, ready_count = l.ready_count + g.ready
          FROM (SELECT tenant_id, count(*) AS n, count(*) FILTER (WHERE state = 'ready') AS ready
                  FROM made WHERE state <> 'blocked' GROUP BY tenant_id) g
         CROSS JOIN LATERAL (SELECT o.ctid AS tid FROM tenant_load o WHERE o.tenant_id = g.tenant_id OFFSET 0) o
         WHERE l.ctid = o.tid
    )
    SELECT coalesce(array_agg(DISTINCT m.queue) FILTER (WHERE m.state = 'ready'), '{}'),
           array_agg(m.tenant_id) FILTER (WHERE m.state = 'waiting'), array_agg(m.run_id) FILTER (WHERE m.state = 'waiting'),
           array_agg(m.ordinal) FILTER (WHERE m.state = 'waiting'),
           (SELECT array_agg(g.tenant_id) FROM given g WHERE g.run_id NOT IN (SELECT o.run_id FROM made o)),
           (SELECT array_agg(g.run_id) FROM given g WHERE g.run_id NOT IN (SELECT o.run_id FROM made o))
      INTO v_wake, c_tenants, c_runs, c_ordinals, e_tenants, e_runs FROM made m;
    IF e_runs IS NOT NULL THEN
        PERFORM engine_undo_end(e_tenants, e_runs, p_now);
    END IF;
    IF c_runs IS NOT NULL THEN
        v_wake := v_wake || engine_undo_children(c_tenants, c_runs, c_ordinals, p_actor, p_now);
    END IF;
    RETURN v_wake;
END
$$;

-- Purpose: undos have ended, well or not: the undos of what came before become ready; with the last
--          one the run has been undone, and ends if it has not ended before.
-- Guard:   under the tenants' mutexes.  Input: one entry for each row of batch -2 that has just ended.
CREATE OR REPLACE FUNCTION engine_undone(p_tenants int[], p_runs uuid[], p_ordinals int[], p_now timestamptz) RETURNS void LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    v_us bigint := engine_micros(p_now);
    d_tenants int[] := p_tenants;
    d_runs uuid[] := p_runs;
    d_ordinals int[] := p_ordinals;
    a_tenants int[] := '{}';
    a_runs uuid[] := '{}';
    a_ordinals int[] := '{}';
BEGIN
    WHILE cardinality(d_runs) > 0 LOOP
        WITH base AS MATERIALIZED (
            SELECT l.tenant_id, l.seq FROM tenant_load l WHERE l.tenant_id = ANY (d_tenants)
        ), of AS MATERIALIZED (
            SELECT g.run_id, g.n, r.tid, r.version_id
              FROM (SELECT d.run_id, count(*)::int AS n FROM unnest(d_runs) AS d (run_id) GROUP BY d.run_id) g
              CROSS JOIN LATERAL (SELECT o.ctid AS tid, o.version_id FROM run o WHERE o.id = g.run_id OFFSET 0) r
        ), counted AS (
            UPDATE run r SET undo_open = r.undo_open - o.n FROM of o WHERE r.ctid = o.tid
        ), edge AS (
            SELECT d.tenant_id, d.run_id, p.ordinal, count(*)::int AS n
              FROM unnest(d_tenants, d_runs, d_ordinals) AS d (tenant_id, run_id, ordinal)
              JOIN of o ON o.run_id = d.run_id
              CROSS JOIN LATERAL (
                  SELECT x.parents FROM version_step x
                   WHERE x.version_id = o.version_id AND x.ordinal = d.ordinal OFFSET 0) v
              CROSS JOIN LATERAL unnest(v.parents) AS p (ordinal)
             GROUP BY d.tenant_id, d.run_id, p.ordinal
        ), moved AS (
            UPDATE step_run s SET
                parents_left = s.parents_left - e.n,
                state = CASE WHEN s.parents_left > e.n THEN 'blocked' WHEN s.wait_key IS NOT NULL THEN 'waiting'
                             WHEN s.handler_id IS NULL THEN 'skipped' ELSE 'ready' END,
                wait_reason = CASE WHEN s.parents_left = e.n AND s.wait_key IS NOT NULL THEN 'child' END,
                ready_at = CASE WHEN s.parents_left = e.n THEN p_now END,
                rank = v_us - s.priority * 60000000::bigint,
                finished_at = CASE WHEN s.parents_left = e.n AND s.handler_id IS NULL AND s.wait_key IS NULL THEN p_now END
              FROM edge e
              CROSS JOIN LATERAL (
                  SELECT o.ctid AS tid FROM step_run o
                   WHERE o.tenant_id = e.tenant_id AND o.run_id = e.run_id AND o.ordinal = e.ordinal
                     AND o.batch = -2 AND coalesce(o.state, '') = 'blocked'
                  OFFSET 0) o
             WHERE s.ctid = o.tid
            RETURNING s.tenant_id, s.run_id, s.ordinal, s.state
        ), told AS (
            INSERT INTO event (tenant_id, seq, at, type, run_id, ordinal, batch)
            SELECT m.tenant_id, (SELECT b.seq FROM base b WHERE b.tenant_id = m.tenant_id) + row_number() OVER (PARTITION BY m.tenant_id ORDER BY m.run_id, m.ordinal),
                   p_now, 'step.' || m.state, m.run_id, m.ordinal, -2
              FROM moved m WHERE m.state IN ('ready', 'waiting')
        ), load AS (
            UPDATE tenant_load l SET seq = l.seq + g.n, ready_count = l.ready_count + g.ready
              FROM (SELECT tenant_id, count(*) AS n, count(*) FILTER (WHERE state = 'ready') AS ready
                      FROM moved WHERE state IN ('ready', 'waiting') GROUP BY tenant_id) g
             CROSS JOIN LATERAL (SELECT o.ctid AS tid FROM tenant_load o WHERE o.tenant_id = g.tenant_id OFFSET 0) o
             WHERE l.ctid = o.tid
        )
        SELECT coalesce(array_agg(m.tenant_id) FILTER (WHERE m.state = 'skipped'), '{}'),
               coalesce(array_agg(m.run_id) FILTER (WHERE m.state = 'skipped'), '{}'),
               coalesce(array_agg(m.ordinal) FILTER (WHERE m.state = 'skipped'), '{}'),
               a_tenants || array_agg(m.tenant_id) FILTER (WHERE m.state = 'waiting'),
               a_runs || array_agg(m.run_id) FILTER (WHERE m.state = 'waiting'),
               a_ordinals || array_agg(m.ordinal) FILTER (WHERE m.state = 'waiting')
          INTO d_tenants, d_runs, d_ordinals, a_tenants, a_runs, a_ordinals
          FROM moved m;
    END LOOP;

    PERFORM engine_undo_end(p_tenants, p_runs, p_now);
    IF cardinality(a_runs) > 0 THEN
        PERFORM engine_undo_children(a_tenants, a_runs, a_ordinals, NULL, p_now);
    END IF;
END
$$;

-- Purpose: runs whose undos have all ended have been undone, and end if they have not ended before.
-- Guard:   under the tenants' mutexes; runs with an undo left are passed over.
CREATE OR REPLACE FUNCTION engine_undo_end(p_tenants int[], p_runs uuid[], p_now timestamptz) RETURNS void LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    f_tenants int[];
    f_runs uuid[];
    c_tenants int[];
    c_runs uuid[];
    c_ordinals int[];
BEGIN
    WITH ended AS (
        UPDATE run r SET
            undo_state = CASE WHEN f.ordinal IS NULL THEN 'succeeded' ELSE 'failed' END,
            undo_finished_at = p_now,
            undo_error = CASE WHEN f.ordinal IS NOT NULL THEN (
                SELECT json_build_object('code', 'step_failed',
                           'message', 'The undo of step "' || v.name || '" failed: ' || coalesce(f.error::json ->> 'message', f.state),
                           'step', v.name,
                           'cause', json_build_object('code', f.error::json -> 'code',
                               'message', f.error::json -> 'message', 'type', f.error::json -> 'type'))::text
                  FROM version_step v WHERE v.version_id = o.version_id AND v.ordinal = f.ordinal) END
          FROM (SELECT DISTINCT * FROM unnest(p_tenants, p_runs) AS d (tenant_id, run_id)) d
          CROSS JOIN LATERAL (
              SELECT o.ctid AS tid, o.version_id FROM run o
               WHERE o.id = d.run_id AND o.undo_state = 'running' AND o.undo_open = 0 OFFSET 0) o
          LEFT JOIN LATERAL (
              SELECT s.ordinal, s.state, s.error FROM step_run s
               WHERE s.tenant_id = d.tenant_id AND s.run_id = d.run_id AND s.batch = -2
                 AND coalesce(s.state, '') IN ('failed', 'cancelled')
               ORDER BY s.finished_at, s.ordinal LIMIT 1) f ON true
         WHERE r.ctid = o.tid
        RETURNING r.tenant_id, r.id, r.finished_at, r.parent_id, r.parent_ordinal
    )
    SELECT array_agg(e.tenant_id) FILTER (WHERE e.finished_at IS NULL), array_agg(e.id) FILTER (WHERE e.finished_at IS NULL),
           array_agg(e.tenant_id) FILTER (WHERE e.parent_id IS NOT NULL), array_agg(e.parent_id) FILTER (WHERE e.parent_id IS NOT NULL),
           array_agg(e.parent_ordinal) FILTER (WHERE e.parent_id IS NOT NULL)
      INTO f_tenants, f_runs, c_tenants, c_runs, c_ordinals FROM ended e;
    IF f_runs IS NOT NULL THEN
        PERFORM engine_finish(f_tenants, f_runs, NULL, NULL, p_now);
    END IF;
    IF c_runs IS NOT NULL THEN
        PERFORM engine_children_undone(c_tenants, c_runs, c_ordinals, p_now);
    END IF;
END
$$;

-- Purpose: rows of batch -1 and -2 have ended.  Guard: under the tenants' mutexes.
CREATE OR REPLACE FUNCTION engine_calls_ended(
    p_tenants int[], p_runs uuid[], p_ordinals int[], p_batches int[], p_now timestamptz
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    c_tenants int[];
    c_runs uuid[];
    c_ordinals int[];
    u_tenants int[];
    u_runs uuid[];
    u_ordinals int[];
BEGIN
    SELECT array_agg(d.tenant_id) FILTER (WHERE d.batch = -1), array_agg(d.run_id) FILTER (WHERE d.batch = -1),
           array_agg(d.ordinal) FILTER (WHERE d.batch = -1),
           array_agg(d.tenant_id) FILTER (WHERE d.batch = -2), array_agg(d.run_id) FILTER (WHERE d.batch = -2),
           array_agg(d.ordinal) FILTER (WHERE d.batch = -2)
      INTO c_tenants, c_runs, c_ordinals, u_tenants, u_runs, u_ordinals
      FROM unnest(p_tenants, p_runs, p_ordinals, p_batches) AS d (tenant_id, run_id, ordinal, batch);
    IF c_runs IS NOT NULL THEN
        PERFORM engine_compensated(c_tenants, c_runs, c_ordinals, p_now);
    END IF;
    IF u_runs IS NOT NULL THEN
        PERFORM engine_undone(u_tenants, u_runs, u_ordinals, p_now);
    END IF;
END
$$;

-- Purpose: undo a run that has ended, on request.  Guard: takes the tenant's mutex.
-- Returns: begun; or open (it has not ended), again (it was undone before), nothing (no step of it can
--          be undone), gone (it was deleted); and the queues to wake.
CREATE OR REPLACE FUNCTION engine_undo(p_tenant int, p_run uuid, p_actor text, OUT verdict text, OUT wake text[]) LANGUAGE plpgsql AS $$
DECLARE
    v_run run%ROWTYPE;
    v_now timestamptz;
BEGIN
    IF NOT engine_lock_run(p_tenant, p_run) THEN
        verdict := 'gone';
        wake := '{}';
        RETURN;
    END IF;
    v_now := clock_timestamp();
    wake := '{}';
    SELECT * INTO v_run FROM run r WHERE r.id = p_run AND r.tenant_id = p_tenant;
    verdict := CASE WHEN v_run.undo_state IS NOT NULL THEN 'again'
                    WHEN v_run.finished_at IS NULL THEN 'open'
                    WHEN engine_has_undo(p_tenant, p_run, v_run.version_id) THEN 'begun'
                    ELSE 'nothing' END;
    IF verdict = 'begun' THEN
        wake := engine_undo_begin(ARRAY[p_tenant], ARRAY[p_run], ARRAY[NULL::text], p_actor, v_now);
        wake := engine_hint(p_tenant, wake, v_now);
    END IF;
END
$$;

-- Purpose: the queues of a run's undos that are ready.
CREATE OR REPLACE FUNCTION engine_undo_queues(p_tenant int, p_run uuid) RETURNS text[] LANGUAGE plpgsql STABLE
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
BEGIN
    RETURN (SELECT coalesce(array_agg(DISTINCT s.queue), '{}') FROM step_run s
             WHERE s.tenant_id = p_tenant AND s.run_id = p_run AND s.batch = -2 AND coalesce(s.state, '') = 'ready');
END
$$;

-- Purpose: give up an undo by hand: one that has its turn and does not run, because it waits for its next
--          attempt, or nobody has its handler.  The undos before it go on; the run's undo has failed.
-- Guard:   under the tenant's mutex.  Returns: whether there was one.
CREATE OR REPLACE FUNCTION engine_skip_undo(p_tenant int, p_run uuid, p_ordinal int, p_actor text, p_now timestamptz)
RETURNS boolean LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    v_done boolean;
BEGIN
    WITH given AS (
        UPDATE step_run s SET
            state = 'cancelled', reason = 'manual', parked = NULL, due_at = NULL, wait_reason = NULL, suspect = false,
            finished_at = p_now, error = '{"code":"cancelled","message":"It was skipped by hand.","type":null}'
          FROM (SELECT o.ctid AS tid, o.state = 'ready' AND o.parked IS NULL AS claimable FROM step_run o
                 WHERE o.tenant_id = p_tenant AND o.run_id = p_run AND o.ordinal = p_ordinal AND o.batch = -2
                   AND (o.state = 'ready' OR o.state = 'waiting' AND o.wait_reason IN ('retry', 'snooze'))
                   AND NOT EXISTS (SELECT 1 FROM hold h WHERE h.run_id = p_run AND h.ordinal = p_ordinal AND h.batch = -2)) o
         WHERE s.ctid = o.tid
        RETURNING s.error, o.claimable
    ), told AS (
        INSERT INTO event (tenant_id, seq, at, type, run_id, ordinal, batch, actor, data)
        SELECT p_tenant, l.seq + 1, p_now, 'step.cancelled', p_run, p_ordinal, -2, p_actor, g.error
          FROM given g CROSS JOIN (SELECT o.seq FROM tenant_load o WHERE o.tenant_id = p_tenant) l
    ), load AS (
        UPDATE tenant_load l SET
            seq = l.seq + (SELECT count(*) FROM given),
            ready_count = l.ready_count - (SELECT count(*) FROM given g WHERE g.claimable)
         WHERE l.tenant_id = p_tenant
    )
    SELECT count(*) > 0 INTO v_done FROM given;
    IF v_done THEN
        PERFORM engine_undone(ARRAY[p_tenant], ARRAY[p_run], ARRAY[p_ordinal], p_now);
    END IF;
    RETURN v_done;
END
$$;
