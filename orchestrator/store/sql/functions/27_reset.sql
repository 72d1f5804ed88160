-- Purpose: let steps of a run run anew, and decide again what waits for them: the common part of every
--          repair by hand.
-- Guard:   under the tenant's mutex; none of these steps runs or is held, the run is not terminal.
-- Index:   step_run's key, version_step's key, control's key.

-- These steps and all that follow them, in any order.
CREATE OR REPLACE FUNCTION engine_downstream(p_version bigint, p_ordinals int[]) RETURNS int[] LANGUAGE plpgsql STABLE
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
BEGIN
    RETURN (
        WITH RECURSIVE down (ordinal) AS (
            SELECT unnest(p_ordinals)
            UNION
            SELECT c.ordinal FROM down d
             CROSS JOIN LATERAL (
                 SELECT o.children FROM version_step o
                  WHERE o.version_id = p_version AND o.ordinal = d.ordinal OFFSET 0) v
             CROSS JOIN LATERAL unnest(v.children) AS c (ordinal)
        )
        SELECT coalesce(array_agg(d.ordinal), '{}') FROM down d);
END
$$;

-- What follows these steps and was never tried, because of a rule or a cancel: it may be now.
CREATE OR REPLACE FUNCTION engine_untried(p_tenant int, p_run uuid, p_version bigint, p_ordinals int[])
RETURNS int[] LANGUAGE plpgsql STABLE
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
BEGIN
    RETURN (
        WITH RECURSIVE down (ordinal) AS (
            SELECT unnest(p_ordinals)
            UNION
            SELECT s.ordinal FROM down d
             CROSS JOIN LATERAL (
                 SELECT o.children FROM version_step o
                  WHERE o.version_id = p_version AND o.ordinal = d.ordinal OFFSET 0) v
             CROSS JOIN LATERAL unnest(v.children) AS c (ordinal)
             CROSS JOIN LATERAL (
                 SELECT o.ordinal FROM step_run o
                  WHERE o.tenant_id = p_tenant AND o.run_id = p_run AND o.ordinal = c.ordinal AND o.batch = 0
                    AND (coalesce(o.state, '') = 'cancelled'
                         OR coalesce(o.state, '') = 'skipped'
                            AND o.reason IN ('upstream_failed', 'upstream_skipped', 'trigger_rule'))
                 OFFSET 0) s
        )
        SELECT coalesce(array_agg(d.ordinal), '{}') FROM down d WHERE d.ordinal <> ALL (p_ordinals));
END
$$;

-- Take back what these steps had: their parts (batches, compensation, undo), work for Python, outputs,
-- attempts, their places where a cached output is made or awaited (the clock gives these on); never their epoch, nor that of their batches (kept in `map_state`) and of their
-- compensation (whose row stays, as one that has said `retry`).  They are `blocked` then, and counted
-- by nobody.
CREATE OR REPLACE FUNCTION engine_forget_steps(p_tenant int, p_run uuid, p_ordinals int[]) RETURNS void LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
BEGIN
    PERFORM engine_leave_children(p_tenant, p_run, p_ordinals, NULL);
    UPDATE map_state m SET in_flight = 0, finished_at = coalesce(m.finished_at, clock_timestamp()),
           epoch = greatest(m.epoch, (SELECT max(s.epoch) FROM step_run s
                                       WHERE s.tenant_id = p_tenant AND s.run_id = p_run AND s.ordinal = m.ordinal
                                         AND (s.batch > 0 OR s.batch = -3)))
     WHERE m.run_id = p_run AND m.ordinal = ANY (p_ordinals);
    DELETE FROM map_pack k WHERE k.run_id = p_run AND k.ordinal = ANY (p_ordinals);
    WITH asked AS (
        DELETE FROM control c USING unnest(p_ordinals) AS d (ordinal)
         CROSS JOIN LATERAL (
             SELECT o.ctid AS tid FROM control o WHERE o.run_id = p_run AND o.ordinal = d.ordinal OFFSET 0) o
         WHERE c.ctid = o.tid
        RETURNING c.held
    ), parts AS (
        DELETE FROM step_run s USING unnest(p_ordinals) AS d (ordinal)
         CROSS JOIN LATERAL (
             SELECT o.ctid AS tid FROM step_run o
              WHERE o.tenant_id = p_tenant AND o.run_id = p_run AND o.ordinal = d.ordinal
                 AND o.batch NOT IN (0, -1) OFFSET 0) o
         WHERE s.ctid = o.tid
        RETURNING s.state = 'ready' AND s.parked IS NULL AS claimable
    ), answer AS (
        UPDATE step_run s SET state = 'cancelled', reason = 'retry', parked = NULL, due_at = NULL, wait_reason = NULL,
                              finished_at = coalesce(s.finished_at, clock_timestamp())
          FROM unnest(p_ordinals) AS d (ordinal)
          CROSS JOIN LATERAL (
              SELECT o.ctid AS tid, o.state = 'ready' AND o.parked IS NULL AS claimable FROM step_run o
               WHERE o.tenant_id = p_tenant AND o.run_id = p_run AND o.ordinal = d.ordinal AND o.batch = -1 OFFSET 0) o
         WHERE s.ctid = o.tid
        RETURNING o.claimable
    ), anew AS (
        UPDATE step_run s SET
            state = 'blocked', parked = NULL, suspect = false, attempts = 0, losses = 0, extra_attempts = 0, worker_id = NULL,
            charged_s = 0, ready_at = NULL, started_at = NULL, finished_at = NULL, due_at = NULL,
            wait_reason = NULL, wait_key = NULL, repeats = 0, reason = NULL, handled = false,
            args = NULL, output = NULL, error = NULL
          FROM unnest(p_ordinals) AS d (ordinal)
          CROSS JOIN LATERAL (
              SELECT o.ctid AS tid, o.state = 'ready' AND o.parked IS NULL AS claimable FROM step_run o
               WHERE o.tenant_id = p_tenant AND o.run_id = p_run AND o.ordinal = d.ordinal AND o.batch = 0 OFFSET 0) o
         WHERE s.ctid = o.tid
        RETURNING o.claimable
    )
    UPDATE tenant_load l SET
        control_count = l.control_count - (SELECT count(*) FROM asked a WHERE NOT a.held),
        ready_count = l.ready_count - (SELECT count(*) FROM parts p WHERE p.claimable)
                                    - (SELECT count(*) FROM answer a WHERE a.claimable)
                                    - (SELECT count(*) FROM anew a WHERE a.claimable)
     WHERE l.tenant_id = p_tenant;
    DELETE FROM cache_flight f USING unnest(p_ordinals) AS d (ordinal)
     CROSS JOIN LATERAL (
         SELECT o.ctid AS tid FROM cache_flight o WHERE o.run_id = p_run AND o.ordinal = d.ordinal OFFSET 0) o
     WHERE f.ctid = o.tid;
    DELETE FROM heartbeat h WHERE h.run_id = p_run AND h.ordinal = ANY (p_ordinals);
    DELETE FROM dead_letter t
     WHERE t.tenant_id = p_tenant AND t.run_id = p_run AND t.ordinal = ANY (p_ordinals);
END
$$;

-- p_reset: steps to run anew; p_changed: steps whose end is another one now, or which were held and are
-- to be decided.  Both may be empty.  p_held: the run waits for a place, so that nothing becomes ready.
-- Returns: the queues with new work.
CREATE OR REPLACE FUNCTION engine_reset(
    p_tenant int, p_run uuid, p_version bigint, p_reset int[], p_changed int[], p_actor text, p_now timestamptz,
    p_held boolean DEFAULT false
) RETURNS text[] LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    v_us bigint := engine_micros(p_now);
    v_queues text[];
    s_ordinals int[];
BEGIN
    PERFORM engine_forget_steps(p_tenant, p_run, p_reset);

    WITH base AS MATERIALIZED (
        SELECT l.seq FROM tenant_load l WHERE l.tenant_id = p_tenant
    ), child AS (
        -- what runs anew, and what waits for it or for what ended otherwise
        SELECT x AS ordinal FROM unnest(p_reset || p_changed) AS x
        UNION
        SELECT c.ordinal FROM (SELECT unnest(p_reset || p_changed) AS ordinal) d
         CROSS JOIN LATERAL (
             SELECT o.children FROM version_step o
              WHERE o.version_id = p_version AND o.ordinal = d.ordinal OFFSET 0) v
         CROSS JOIN LATERAL unnest(v.children) AS c (ordinal)
    ), judged AS MATERIALIZED (
        SELECT s.tid, p.*, CASE WHEN p_held THEN 'wait'
                    ELSE engine_verdict(s.rule, s.parents_total, p.l, p.ok, p.failed, p.skipped) END AS verdict
          FROM child c
          CROSS JOIN LATERAL (
              SELECT o.ctid AS tid, o.rule, o.parents_total FROM step_run o
               WHERE o.tenant_id = p_tenant AND o.run_id = p_run AND o.ordinal = c.ordinal AND o.batch = 0
                 AND coalesce(o.state, '') = 'blocked' OFFSET 0) s
          CROSS JOIN LATERAL (
              SELECT o.parents FROM version_step o
               WHERE o.version_id = p_version AND o.ordinal = c.ordinal OFFSET 0) v
          CROSS JOIN LATERAL (
              SELECT (count(*) FILTER (WHERE q.state NOT IN ('succeeded', 'failed', 'skipped', 'cancelled')))::int AS l,
                     (count(*) FILTER (WHERE q.state = 'succeeded'))::int AS ok,
                     (count(*) FILTER (WHERE q.state = 'failed'))::int AS failed,
                     (count(*) FILTER (WHERE q.state = 'skipped'))::int AS skipped
                FROM unnest(v.parents) AS u (ordinal)
               CROSS JOIN LATERAL (
                   SELECT o.state FROM step_run o
                    WHERE o.tenant_id = p_tenant AND o.run_id = p_run AND o.ordinal = u.ordinal AND o.batch = 0
                   OFFSET 0) q) p
    ), moved AS (
        UPDATE step_run s SET
            parents_left = j.l, parents_ok = j.ok, parents_failed = j.failed, parents_skipped = j.skipped,
            state = CASE j.verdict WHEN 'wait' THEN 'blocked' WHEN 'ready' THEN 'ready' ELSE 'skipped' END,
            parked = CASE WHEN j.verdict = 'ready' AND s.control THEN 'control' END,
            ready_at = CASE WHEN j.verdict = 'ready' THEN p_now END,
            rank = CASE WHEN j.verdict = 'ready' THEN v_us - s.priority * 60000000::bigint ELSE s.rank END,
            reason = CASE WHEN j.verdict NOT IN ('wait', 'ready') THEN j.verdict END,
            finished_at = CASE WHEN j.verdict NOT IN ('wait', 'ready') THEN p_now END
          FROM judged j
         WHERE s.ctid = j.tid
        RETURNING s.ordinal, s.state, s.parked, s.reason, s.queue
    ), said AS (
        SELECT m.* FROM moved m WHERE m.state <> 'blocked' OR m.ordinal = ANY (p_reset)
    ), told AS (
        INSERT INTO event (tenant_id, seq, at, type, run_id, ordinal, batch, actor, data)
        SELECT p_tenant, (SELECT b.seq FROM base b) + row_number() OVER (ORDER BY m.ordinal), p_now,
               'step.' || m.state, p_run, m.ordinal, 0, p_actor,
               CASE WHEN m.reason IS NOT NULL THEN '{"reason":"' || m.reason || '"}' END
          FROM said m
    ), asked AS (
        INSERT INTO control (tenant_id, run_id, ordinal, batch, kind, created_at)
        SELECT p_tenant, p_run, m.ordinal, 0, 'condition', p_now FROM moved m WHERE m.parked = 'control'
    ), load AS (
        UPDATE tenant_load l SET
            seq = l.seq + (SELECT count(*) FROM said),
            ready_count = l.ready_count + (SELECT count(*) FROM moved m WHERE m.state = 'ready' AND m.parked IS NULL),
            control_count = l.control_count + (SELECT count(*) FROM moved m WHERE m.parked = 'control')
         WHERE l.tenant_id = p_tenant
    )
    SELECT coalesce(array_agg(DISTINCT m.queue) FILTER (WHERE m.state = 'ready'), '{}'),
           coalesce(array_agg(m.ordinal) FILTER (WHERE m.state = 'skipped'), '{}')
      INTO v_queues, s_ordinals FROM moved m;

    -- counted from the rows; what was skipped just now is open still, and ends with what follows
    UPDATE run r SET
        open_count = n.open + cardinality(s_ordinals), succeeded_count = n.ok, failed_count = n.failed,
        skipped_count = n.skipped - cardinality(s_ordinals), cancelled_count = n.cancelled
      FROM (SELECT (count(*) FILTER (WHERE s.state NOT IN ('succeeded', 'failed', 'skipped', 'cancelled')))::int AS open,
                   (count(*) FILTER (WHERE s.state = 'succeeded'))::int AS ok,
                   (count(*) FILTER (WHERE s.state = 'failed'))::int AS failed,
                   (count(*) FILTER (WHERE s.state = 'skipped'))::int AS skipped,
                   (count(*) FILTER (WHERE s.state = 'cancelled'))::int AS cancelled
              FROM step_run s WHERE s.tenant_id = p_tenant AND s.run_id = p_run AND s.batch = 0) n
     WHERE r.id = p_run;
    IF cardinality(s_ordinals) > 0 THEN
        PERFORM engine_propagate(
            array_fill(p_tenant, ARRAY[cardinality(s_ordinals)]), array_fill(p_run, ARRAY[cardinality(s_ordinals)]),
            array_fill(p_version, ARRAY[cardinality(s_ordinals)]), s_ordinals,
            array_fill('skipped'::text, ARRAY[cardinality(s_ordinals)]), p_now);
    ELSE
        PERFORM engine_finish(ARRAY[p_tenant], ARRAY[p_run], NULL, NULL, p_now);
    END IF;
    PERFORM engine_unpark(ARRAY[p_tenant], ARRAY[p_run]);
    RETURN v_queues;
END
$$;
