-- Purpose: repair by hand: a run is retried, a step is retried, completed or skipped.
-- Guard:   each takes the tenant's mutex, so that two of them, or one and a step's end, come one after
--          the other; what the state does not allow is refused, and nothing is changed.
-- Returns: `refused`, null when it was done, else why not: 'run <state>', 'step <state>',
--          'closing' (it is being undone, too), 'dropped' (its outputs are gone), 'gone' (it was deleted),
--          'concurrency <limit>' (no place is free, and its workflow says reject), or 'busy <ordinal>' (code or a part of that
--          step still runs), 'undo' (of a run that is being undone, the step's undo is not to be skipped);
--          the queues to wake.
-- A run with a concurrency key takes a place again, or waits for one, by the rules of a new run.

-- A run that has ended runs again, with a timeout that begins anew; a deadline that has passed counts
-- no more.  What had been cancelled is for the caller to reset: a run cannot end without it.
-- p_held: it waits for a place first, as a new run that is to start now.
CREATE OR REPLACE FUNCTION engine_reopen(p_tenant int, p_run uuid, p_held boolean, p_actor text, p_now timestamptz)
RETURNS void LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
BEGIN
    WITH again AS (
        UPDATE run r SET
            state = CASE WHEN p_held THEN 'queued' ELSE 'running' END,
            held = CASE WHEN p_held THEN 'concurrency' END,
            finished_at = NULL, closing = NULL, closing_at = NULL, output = NULL, error = NULL,
            started_at = CASE WHEN NOT p_held THEN coalesce(r.started_at, p_now) END,
            start_at = CASE WHEN p_held THEN p_now ELSE r.start_at END,
            undo_state = NULL, undo_open = 0, undo_error = NULL, undo_finished_at = NULL,
            deadline_at = o.deadline_at,
            expires_at = CASE WHEN o.waits OR p_held THEN o.deadline_at
                              ELSE least(o.deadline_at, p_now + r.timeout_ms * interval '1 millisecond') END,
            resume_ms = CASE WHEN o.waits AND NOT p_held THEN r.timeout_ms END
          FROM (SELECT q.ctid AS tid, CASE WHEN q.deadline_at > p_now THEN q.deadline_at END AS deadline_at,
                       engine_workflow_paused(q.id) AS waits
                  FROM run q WHERE q.id = p_run AND (q.tenant_id = p_tenant) IS TRUE) o
         WHERE r.ctid = o.tid
        RETURNING r.id, r.state
    ), told AS (
        INSERT INTO event (tenant_id, seq, at, type, run_id, actor, data)
        SELECT p_tenant, l.seq + 1, p_now, 'run.' || a.state, a.id, p_actor, '{"retried":true}'
          FROM again a CROSS JOIN (SELECT o.seq FROM tenant_load o WHERE o.tenant_id = p_tenant) l
    )
    UPDATE tenant_load l SET seq = l.seq + a.n, active_runs = l.active_runs + a.n
      FROM (SELECT count(*) AS n FROM again) a WHERE l.tenant_id = p_tenant;
    -- what was undone may be undone again, after its next failure
    DELETE FROM step_run s WHERE s.tenant_id = p_tenant AND s.run_id = p_run AND s.batch = -2;
    -- whether a child under one_failed answers is seen at the run's end again
    UPDATE step_run s SET handled = false
     WHERE s.tenant_id = p_tenant AND s.run_id = p_run AND s.batch = 0 AND coalesce(s.state, '') = 'failed' AND s.handled;
END
$$;

-- Whether the run has to wait for a place before it runs again.
-- Returns: refused, where it may not even wait.
CREATE OR REPLACE FUNCTION engine_readmit(
    p_tenant int, p_version bigint, p_key text, p_now timestamptz, OUT held boolean, OUT refused text
) LANGUAGE plpgsql AS $$
DECLARE
    v_held text := (engine_admit(p_tenant, ARRAY[1], ARRAY[p_version], ARRAY[NULL]::timestamptz[], ARRAY[p_key], p_now))[1];
BEGIN
    held := v_held IS NOT NULL;
    IF v_held = 'reject' THEN
        refused := 'concurrency ' || (SELECT v.concurrency_limit FROM workflow_version v WHERE v.id = p_version);
    END IF;
END
$$;

-- A reopened run that waits for a place: under `cancel_oldest` others make room for it.
-- Returns: the queues to wake, should it have its place at once.
CREATE OR REPLACE FUNCTION engine_make_place(p_tenant int, p_run uuid, p_actor text, p_now timestamptz)
RETURNS text[] LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
BEGIN
    PERFORM engine_make_room(p_tenant, ARRAY[p_run], p_actor, p_now);
    RETURN (SELECT coalesce(array_agg(DISTINCT s.queue), '{}') FROM step_run s
             WHERE s.tenant_id = p_tenant AND s.run_id = p_run AND coalesce(s.state, '') = 'ready');
END
$$;

-- Of these steps, the first whose code or parts still run; null: none.
CREATE OR REPLACE FUNCTION engine_busy(p_tenant int, p_run uuid, p_ordinals int[]) RETURNS int LANGUAGE plpgsql STABLE
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
BEGIN
    RETURN (
        SELECT min(d.ordinal) FROM unnest(p_ordinals) AS d (ordinal)
         WHERE EXISTS (SELECT 1 FROM hold h WHERE h.run_id = p_run AND h.ordinal = d.ordinal)
            OR EXISTS (SELECT 1 FROM step_run s WHERE s.tenant_id = p_tenant AND s.run_id = p_run
                          AND s.ordinal = d.ordinal AND coalesce(s.state, '') = 'running'));
END
$$;

-- Steps of a run that was cut short: they have no end of their own.
CREATE OR REPLACE FUNCTION engine_cut_short(p_tenant int, p_run uuid) RETURNS int[] LANGUAGE plpgsql STABLE
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
BEGIN
    RETURN (SELECT coalesce(array_agg(s.ordinal), '{}') FROM step_run s
             WHERE s.tenant_id = p_tenant AND s.run_id = p_run AND s.batch = 0
               AND coalesce(s.state, '') = 'cancelled');
END
$$;

-- Retry a run that has ended.  Without p_from: its unhandled failures, what was cancelled, and what
-- follows them.  With it: that step, what was cancelled, and what follows them; so a run that succeeded
-- is retried too.  A step that was undone has nothing to keep, and runs again.
CREATE OR REPLACE FUNCTION engine_retry(
    p_tenant int, p_run uuid, p_from int, p_actor text, OUT refused text, OUT wake text[]
) LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    v_now timestamptz;
    v_run record;
    v_seeds int[];
    v_reset int[];
    v_busy int;
    v_held boolean;
BEGIN
    IF NOT engine_lock_run(p_tenant, p_run) THEN
        refused := 'gone';
        wake := '{}';
        RETURN;
    END IF;
    v_now := clock_timestamp();
    wake := '{}';
    SELECT r.state, r.version_id, r.finished_at, r.undo_state, r.outputs_dropped_at, r.concurrency_key INTO v_run FROM run r
     WHERE r.id = p_run AND (r.tenant_id = p_tenant) IS TRUE;
    IF v_run.finished_at IS NULL OR v_run.state = 'succeeded' AND p_from IS NULL THEN
        refused := 'run ' || v_run.state;
        RETURN;
    END IF;
    IF v_run.undo_state = 'running' OR v_run.outputs_dropped_at IS NOT NULL THEN
        refused := CASE WHEN v_run.undo_state = 'running' THEN 'closing' ELSE 'dropped' END;
        RETURN;
    END IF;
    SELECT coalesce(array_agg(s.ordinal), '{}') INTO v_seeds FROM step_run s
     WHERE s.tenant_id = p_tenant AND s.run_id = p_run
       AND CASE s.batch WHEN 0 THEN p_from IS NULL AND s.state = 'failed' AND NOT s.handled
                        -- a row that waited for its child runs' undos has not started itself
                        WHEN -2 THEN s.started_at IS NOT NULL OR s.wait_key = 'children' ELSE false END;
    v_reset := engine_downstream(v_run.version_id, array_remove(v_seeds || engine_cut_short(p_tenant, p_run) || p_from, NULL));
    SELECT engine_busy(p_tenant, p_run, array_agg(s.ordinal)) INTO v_busy FROM step_run s
     WHERE s.tenant_id = p_tenant AND s.run_id = p_run AND s.batch = 0;
    IF v_busy IS NOT NULL THEN
        refused := 'busy ' || v_busy;
        RETURN;
    END IF;
    SELECT a.held, a.refused INTO v_held, refused FROM engine_readmit(p_tenant, v_run.version_id, v_run.concurrency_key, v_now) a;
    IF refused IS NOT NULL THEN
        RETURN;
    END IF;
    PERFORM engine_reopen(p_tenant, p_run, v_held, p_actor, v_now);
    wake := engine_reset(p_tenant, p_run, v_run.version_id, v_reset, '{}', p_actor, v_now, v_held);
    IF v_held THEN
        wake := engine_make_place(p_tenant, p_run, p_actor, v_now);
    END IF;
    wake := engine_hint(p_tenant, wake, v_now);
END
$$;

-- Retry a step that failed for good or was cancelled, with what follows it; one that waits for its
-- next attempt gets it at once.
CREATE OR REPLACE FUNCTION engine_retry_step(
    p_tenant int, p_run uuid, p_ordinal int, p_actor text, OUT refused text, OUT wake text[]
) LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    v_now timestamptz;
    v_run record;
    v_step record;
    v_reset int[];
    v_busy int;
BEGIN
    IF NOT engine_lock_run(p_tenant, p_run) THEN
        refused := 'gone';
        wake := '{}';
        RETURN;
    END IF;
    v_now := clock_timestamp();
    wake := '{}';
    SELECT r.state, r.version_id, r.finished_at, r.closing, r.undo_state, r.held INTO v_run FROM run r
     WHERE r.id = p_run AND (r.tenant_id = p_tenant) IS TRUE;
    SELECT s.state, s.wait_reason, s.due_at INTO v_step FROM step_run s
     WHERE s.tenant_id = p_tenant AND s.run_id = p_run AND s.ordinal = p_ordinal AND s.batch = 0;
    IF v_run.finished_at IS NULL AND v_run.closing IS NOT NULL OR v_run.undo_state = 'running' THEN
        refused := 'closing';
    ELSIF v_step.state = 'waiting' AND v_step.wait_reason IN ('retry', 'snooze') THEN
        IF v_step.due_at IS NULL THEN
            refused := 'busy ' || p_ordinal;
        ELSE
            UPDATE step_run s SET due_at = v_now
             WHERE s.tenant_id = p_tenant AND s.run_id = p_run AND s.ordinal = p_ordinal AND s.batch = 0;
        END IF;
    ELSIF v_step.state NOT IN ('failed', 'cancelled') THEN
        refused := 'step ' || v_step.state;
    ELSIF v_run.state = 'succeeded' THEN
        refused := 'run succeeded';
    ELSIF v_run.finished_at IS NOT NULL THEN
        SELECT e.refused, e.wake INTO refused, wake FROM engine_retry(p_tenant, p_run, p_ordinal, p_actor) e;
    ELSE
        v_reset := engine_downstream(v_run.version_id, ARRAY[p_ordinal]);
        v_busy := engine_busy(p_tenant, p_run, v_reset);
        IF v_busy IS NOT NULL THEN
            refused := 'busy ' || v_busy;
            RETURN;
        END IF;
        wake := engine_reset(p_tenant, p_run, v_run.version_id, v_reset, '{}', p_actor, v_now, v_run.held IS NOT NULL);
        wake := engine_hint(p_tenant, wake, v_now);
    END IF;
END
$$;

-- End a step by hand: p_state is succeeded (with p_output) or skipped.  A step that has not started
-- ends as if it had run; one that failed has ended otherwise now, so that what was skipped for it is
-- decided again, and its run, where it has failed, runs again.  In a run that is being undone it is the
-- step's undo that is skipped.
CREATE OR REPLACE FUNCTION engine_settle_step(
    p_tenant int, p_run uuid, p_ordinal int, p_state text, p_output text, p_actor text,
    OUT refused text, OUT wake text[]
) LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    v_now timestamptz;
    v_run record;
    v_step record;
    v_reset int[] := '{}';
    v_busy int;
    v_held boolean := false;
BEGIN
    IF NOT engine_lock_run(p_tenant, p_run) THEN
        refused := 'gone';
        wake := '{}';
        RETURN;
    END IF;
    v_now := clock_timestamp();
    wake := '{}';
    SELECT r.state, r.version_id, r.finished_at, r.closing, r.undo_state, r.concurrency_key, r.held IS NOT NULL AND r.finished_at IS NULL AS held
      INTO v_run FROM run r
     WHERE r.id = p_run AND (r.tenant_id = p_tenant) IS TRUE;
    SELECT s.state INTO v_step FROM step_run s
     WHERE s.tenant_id = p_tenant AND s.run_id = p_run AND s.ordinal = p_ordinal AND s.batch = 0;
    IF v_run.undo_state = 'running' AND p_state = 'skipped' THEN
        -- what is to be skipped is the step's undo; a run whose undo nobody can run would else not end
        IF NOT engine_skip_undo(p_tenant, p_run, p_ordinal, p_actor, v_now) THEN
            refused := 'undo';
        END IF;
        PERFORM engine_unpark(ARRAY[p_tenant], ARRAY[p_run]);
        wake := engine_hint(p_tenant, engine_undo_queues(p_tenant, p_run), v_now);
        RETURN;
    ELSIF v_run.finished_at IS NULL AND v_run.closing IS NOT NULL OR v_run.undo_state = 'running' THEN
        refused := 'closing';
    ELSIF v_run.finished_at IS NOT NULL AND (v_run.state <> 'failed' OR v_run.undo_state IS NOT NULL) THEN
        -- what was undone cannot be built upon: the run is retried
        refused := 'run ' || v_run.state;
    ELSIF v_step.state NOT IN ('ready', 'waiting', 'failed') AND NOT (v_step.state = 'blocked' AND p_state = 'skipped') THEN
        refused := 'step ' || v_step.state;
    ELSIF EXISTS (SELECT 1 FROM step_run s WHERE s.tenant_id = p_tenant AND s.run_id = p_run
                     AND s.ordinal = p_ordinal AND coalesce(s.state, '') = 'running') THEN
        refused := 'busy ' || p_ordinal;
    END IF;
    IF refused IS NOT NULL THEN
        RETURN;
    END IF;
    IF v_run.finished_at IS NOT NULL THEN
        v_reset := engine_downstream(v_run.version_id, array_remove(engine_cut_short(p_tenant, p_run), p_ordinal));
    END IF;
    IF v_step.state = 'failed' THEN
        v_reset := v_reset || engine_untried(p_tenant, p_run, v_run.version_id, v_reset || p_ordinal);
        v_reset := array_remove((SELECT coalesce(array_agg(DISTINCT x), '{}') FROM unnest(v_reset) AS x), p_ordinal);
        v_busy := engine_busy(p_tenant, p_run, v_reset);
        IF v_busy IS NOT NULL THEN
            refused := 'busy ' || v_busy;
            RETURN;
        END IF;
    END IF;
    IF v_run.finished_at IS NOT NULL THEN
        SELECT a.held, a.refused INTO v_held, refused FROM engine_readmit(p_tenant, v_run.version_id, v_run.concurrency_key, v_now) a;
        IF refused IS NOT NULL THEN
            RETURN;
        END IF;
        PERFORM engine_reopen(p_tenant, p_run, v_held, p_actor, v_now);
    END IF;
    PERFORM engine_settle(p_tenant, p_run, p_ordinal, p_state, p_output, p_actor, v_now);
    -- of a run that is held nothing follows yet: engine_start decides that
    IF v_step.state = 'failed' OR v_run.held THEN
        wake := engine_reset(p_tenant, p_run, v_run.version_id, v_reset, ARRAY[p_ordinal], p_actor, v_now, v_held OR v_run.held);
        IF v_held THEN
            wake := engine_make_place(p_tenant, p_run, p_actor, v_now);
        END IF;
        wake := engine_hint(p_tenant, wake, v_now);
    ELSE
        PERFORM engine_propagate(ARRAY[p_tenant], ARRAY[p_run], ARRAY[v_run.version_id], ARRAY[p_ordinal],
                                 ARRAY[p_state], v_now);
    END IF;
END
$$;

-- Write the end of a step that does not run, and take it out of every queue.  The epochs of what goes
-- with it are kept, as engine_forget_steps keeps them: the run may be retried from it.
CREATE OR REPLACE FUNCTION engine_settle(
    p_tenant int, p_run uuid, p_ordinal int, p_state text, p_output text, p_actor text, p_now timestamptz
) RETURNS void LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
BEGIN
    PERFORM engine_leave_children(p_tenant, p_run, ARRAY[p_ordinal], p_actor);
    UPDATE map_state m SET in_flight = 0, finished_at = coalesce(m.finished_at, p_now),
           epoch = greatest(m.epoch, (SELECT max(s.epoch) FROM step_run s
                                       WHERE s.tenant_id = p_tenant AND s.run_id = p_run AND s.ordinal = p_ordinal
                                         AND (s.batch > 0 OR s.batch = -3)))
     WHERE m.run_id = p_run AND m.ordinal = p_ordinal;
    DELETE FROM map_pack k WHERE k.run_id = p_run AND k.ordinal = p_ordinal;
    WITH asked AS (
        DELETE FROM control c
         WHERE c.run_id = p_run AND c.ordinal = p_ordinal
        RETURNING c.held
    ), parts AS (
        -- batches that have not started
        DELETE FROM step_run s
         WHERE s.tenant_id = p_tenant AND s.run_id = p_run AND s.ordinal = p_ordinal AND s.batch NOT IN (0, -1)
           AND coalesce(s.state, '') IN ('blocked', 'ready', 'waiting')
        RETURNING s.state = 'ready' AND s.parked IS NULL AS claimable
    ), answer AS (
        -- a compensation that has not answered
        UPDATE step_run s SET state = 'cancelled', reason = 'retry', parked = NULL, due_at = NULL, wait_reason = NULL,
                              finished_at = p_now
          FROM (SELECT q.ctid AS tid, q.state = 'ready' AND q.parked IS NULL AS claimable FROM step_run q
                 WHERE q.tenant_id = p_tenant AND q.run_id = p_run AND q.ordinal = p_ordinal AND q.batch = -1
                   AND coalesce(q.state, '') IN ('blocked', 'ready', 'waiting')) o
         WHERE s.ctid = o.tid
        RETURNING o.claimable
    ), ended AS (
        UPDATE step_run s SET
            state = p_state, parked = NULL, due_at = NULL, wait_reason = NULL, finished_at = p_now, suspect = false,
            output = CASE WHEN p_state = 'succeeded' THEN p_output END,
            reason = CASE WHEN p_state = 'skipped' THEN 'manual' END,
            -- a failure that was answered by hand: its error stays to be read
            handled = p_state = 'succeeded' AND s.state = 'failed'
          FROM (SELECT q.ctid AS tid, q.state = 'ready' AND q.parked IS NULL AS claimable FROM step_run q
                 WHERE q.tenant_id = p_tenant AND q.run_id = p_run AND q.ordinal = p_ordinal AND q.batch = 0) o
         WHERE s.ctid = o.tid
        RETURNING o.claimable
    ), told AS (
        INSERT INTO event (tenant_id, seq, at, type, run_id, ordinal, batch, actor, data)
        SELECT p_tenant, l.seq + 1, p_now, 'step.' || p_state, p_run, p_ordinal, 0, p_actor,
               CASE WHEN p_state = 'skipped' THEN '{"reason":"manual"}' ELSE '{"manual":true}' END
          FROM (SELECT o.seq FROM tenant_load o WHERE o.tenant_id = p_tenant) l
    )
    UPDATE tenant_load l SET
        seq = l.seq + 1,
        control_count = l.control_count - (SELECT count(*) FROM asked a WHERE NOT a.held),
        ready_count = l.ready_count - (SELECT count(*) FROM parts p WHERE p.claimable)
                                    - (SELECT count(*) FROM answer a WHERE a.claimable)
                                    - (SELECT count(*) FROM ended e WHERE e.claimable)
     WHERE l.tenant_id = p_tenant;
    DELETE FROM dead_letter t WHERE t.tenant_id = p_tenant AND t.run_id = p_run AND t.ordinal = p_ordinal;
    PERFORM engine_unpark(ARRAY[p_tenant], ARRAY[p_run]);
END
$$;
