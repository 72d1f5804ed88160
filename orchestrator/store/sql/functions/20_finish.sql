-- Purpose: end runs whose steps have all ended.
-- Guard:   under the tenants' mutexes; a run that is terminal, paused or not yet empty is left alone.
-- A run succeeds when no failure is unhandled.  A failure is handled by the step's own `on_error`
-- (it then ended `succeeded`) or by a child under `one_failed` that succeeded.  One that is to fail
-- and has something to undo goes on until that is done (engine_undo_begin), and comes here again.
CREATE OR REPLACE FUNCTION engine_finish(
    p_tenants int[], p_runs uuid[], p_outputs text[], p_errors text[], p_now timestamptz
) RETURNS void LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
-- p_outputs / p_errors: null, or by run what Python made of the workflow's `output`.
DECLARE
    w_tenants int[];
    w_runs uuid[];
    u_tenants int[];
    u_runs uuid[];
    u_errors text[];
BEGIN
    -- failures that a fallback answered
    UPDATE step_run f SET handled = true
      FROM unnest(p_tenants, p_runs) AS d (tenant_id, run_id)
      CROSS JOIN LATERAL (
          SELECT o.version_id FROM run o
           WHERE o.id = d.run_id AND o.failed_count > 0 AND o.open_count = 0 AND o.finished_at IS NULL OFFSET 0) r
      CROSS JOIN LATERAL (
          SELECT o.ordinal, o.parents FROM version_step o
           WHERE o.version_id = r.version_id AND o.rule = 'one_failed' OFFSET 0) c
      CROSS JOIN LATERAL (
          SELECT 1 FROM step_run o
           WHERE o.tenant_id = d.tenant_id AND o.run_id = d.run_id AND o.ordinal = c.ordinal AND o.batch = 0
             AND o.state = 'succeeded' OFFSET 0) answer
      CROSS JOIN LATERAL (
          SELECT o.ctid AS tid FROM step_run o
           WHERE o.tenant_id = d.tenant_id AND o.run_id = d.run_id AND o.ordinal = ANY (c.parents) AND o.batch = 0
             AND o.state = 'failed' AND NOT o.handled OFFSET 0) p
     WHERE f.ctid = p.tid;

    -- a workflow with an `output` expression needs Python first
    IF p_outputs IS NULL THEN
        WITH need AS (
            INSERT INTO control (tenant_id, run_id, ordinal, batch, kind, created_at)
            SELECT d.tenant_id, d.run_id, -1, 0, 'output', p_now
              FROM unnest(p_tenants, p_runs) AS d (tenant_id, run_id)
              CROSS JOIN LATERAL (
                  SELECT o.* FROM run o
                   WHERE o.id = d.run_id AND o.open_count = 0 AND o.finished_at IS NULL AND o.closing IS NULL
                     AND o.state <> 'paused'
                     AND o.undo_state IS NULL
                  OFFSET 0) r
              CROSS JOIN LATERAL (
                  SELECT 1 FROM workflow_version o
                   WHERE o.id = r.version_id AND o.output_needs IS NOT NULL OFFSET 0) v
             WHERE NOT (r.failed_count > 0 AND EXISTS (
                    SELECT 1 FROM step_run s WHERE s.tenant_id = r.tenant_id AND s.run_id = r.id AND s.batch = 0
                       AND s.state = 'failed' AND NOT s.handled))
            ON CONFLICT DO NOTHING
            RETURNING tenant_id
        )
        UPDATE tenant_load l SET control_count = l.control_count + g.n
          FROM (SELECT tenant_id, count(*) AS n FROM need GROUP BY tenant_id) g
         CROSS JOIN LATERAL (SELECT o.ctid AS tid FROM tenant_load o WHERE o.tenant_id = g.tenant_id OFFSET 0) o
         WHERE l.ctid = o.tid;
    END IF;

    WITH base AS MATERIALIZED (
        SELECT l.tenant_id, l.seq FROM tenant_load l WHERE l.tenant_id = ANY (p_tenants)
    ), ended AS (
        SELECT r.tid, r.id, r.tenant_id, r.version_id, r.closing, r.failed_count, r.undo_state, r.error AS fixed_error,
               f.ordinal AS failed_ordinal,
               f.error AS failed_error, d.output AS given_output, d.error AS given_error
          FROM unnest(p_tenants, p_runs, coalesce(p_outputs, array_fill(NULL::text, ARRAY[cardinality(p_runs)])),
                      coalesce(p_errors, array_fill(NULL::text, ARRAY[cardinality(p_runs)])))
               AS d (tenant_id, run_id, output, error)
          CROSS JOIN LATERAL (
              SELECT o.ctid AS tid, o.id, o.tenant_id, o.version_id, o.closing, o.failed_count, o.undo_state, o.error FROM run o
               WHERE o.id = d.run_id AND (o.tenant_id = d.tenant_id) IS TRUE AND o.open_count = 0 AND o.finished_at IS NULL
                 AND o.state <> 'paused'
                 AND o.undo_state IS DISTINCT FROM 'running'
              OFFSET 0) r
          LEFT JOIN LATERAL (
              SELECT s.ordinal, s.error FROM step_run s
               WHERE r.failed_count > 0 AND s.tenant_id = r.tenant_id AND s.run_id = r.id AND s.batch = 0
                 AND s.state = 'failed' AND NOT s.handled
               ORDER BY s.finished_at, s.ordinal LIMIT 1) f ON true
         WHERE (SELECT 1 FROM control c
                 WHERE (c.tenant_id = r.tenant_id) IS TRUE AND c.run_id = r.id AND c.ordinal = -1) IS NULL
    ), shaped AS (
        SELECT e.*,
            CASE WHEN e.undo_state IS NOT NULL THEN 'failed'
                 WHEN e.closing IN ('cancel', 'upstream') THEN 'cancelled'
                 WHEN e.closing IN ('timeout', 'deadline') THEN 'failed'
                 WHEN e.failed_ordinal IS NOT NULL OR e.given_error IS NOT NULL THEN 'failed'
                 ELSE 'succeeded' END AS state,
            CASE WHEN e.undo_state IS NOT NULL THEN e.fixed_error
                 WHEN e.closing = 'cancel' THEN
                    json_build_object('code', 'cancelled', 'message', 'The run was cancelled.', 'step', null, 'cause', null)::text
                 WHEN e.closing = 'upstream' THEN
                    json_build_object('code', 'upstream', 'message', 'The run that waited for this one goes on without it, or was ended.', 'step', null, 'cause', null)::text
                 WHEN e.closing = 'timeout' THEN
                    json_build_object('code', 'run_timeout', 'message', 'The run took longer than its timeout.', 'step', null, 'cause', null)::text
                 WHEN e.closing = 'deadline' THEN
                    json_build_object('code', 'deadline', 'message', 'The run did not end by its deadline.', 'step', null, 'cause', null)::text
                 WHEN e.failed_ordinal IS NOT NULL THEN (
                    SELECT json_build_object('code', 'step_failed',
                               'message', 'Step "' || v.name || '" failed: ' || (e.failed_error::json ->> 'message'),
                               'step', v.name,
                               'cause', json_build_object('code', e.failed_error::json -> 'code',
                                   'message', e.failed_error::json -> 'message',
                                   'type', e.failed_error::json -> 'type'))::text
                      FROM version_step v WHERE v.version_id = e.version_id AND v.ordinal = e.failed_ordinal)
                 ELSE e.given_error END AS error
          FROM ended e
    ), undoes AS MATERIALIZED (
        SELECT s.tenant_id, s.id, s.error FROM shaped s
         WHERE CASE WHEN s.state = 'failed' AND s.undo_state IS NULL
                    THEN engine_has_undo(s.tenant_id, s.id, s.version_id) ELSE false END
    ), done AS (
        UPDATE run r SET
            state = s.state,
            error = s.error,
            output = CASE
                WHEN s.state <> 'succeeded' THEN NULL
                WHEN s.given_output IS NOT NULL THEN s.given_output
                WHEN cardinality(v.leaves) = 1 THEN coalesce((
                    SELECT o.output FROM step_run o
                     WHERE o.tenant_id = s.tenant_id AND o.run_id = s.id AND o.ordinal = v.leaves[1] AND o.batch = 0), 'null')
                ELSE (SELECT '{' || string_agg(to_json(n.name)::text || ':' || coalesce(o.output, 'null'), ',' ORDER BY o.ordinal) || '}'
                        FROM step_run o
                       CROSS JOIN LATERAL (
                           SELECT x.name FROM version_step x
                            WHERE x.version_id = s.version_id AND x.ordinal = o.ordinal OFFSET 0) n
                       WHERE o.tenant_id = s.tenant_id AND o.run_id = s.id AND o.batch = 0
                         AND o.ordinal = ANY (v.leaves)) END,
            finished_at = p_now,
            started_at = coalesce(r.started_at, CASE WHEN s.state = 'succeeded' THEN p_now END)
          FROM shaped s
          CROSS JOIN LATERAL (SELECT o.leaves FROM workflow_version o WHERE o.id = s.version_id OFFSET 0) v
         WHERE r.ctid = s.tid AND NOT EXISTS (SELECT 1 FROM undoes u WHERE u.id = s.id)
        RETURNING r.tenant_id, r.id, r.workflow_id, r.version_id, r.state, r.error, r.created_at, r.started_at, s.failed_count,
                  r.parent_id, r.parent_ordinal, r.parent_id IS NOT NULL OR r.concurrency_key IS NOT NULL AS awaited
    ), buried AS (
        INSERT INTO dead_letter (tenant_id, run_id, ordinal, workflow_id, version_id, code, type, message,
                                 fingerprint, attempts, losses, failed_at)
        SELECT d.tenant_id, d.id, f.ordinal, d.workflow_id, d.version_id, e.code, e.type, left(e.message, 500),
               engine_fingerprint(e.code, e.type, e.message), f.attempts, f.losses, f.finished_at
          FROM done d
          CROSS JOIN LATERAL (
              SELECT o.ordinal, o.error, o.attempts, o.losses, o.finished_at FROM step_run o
               WHERE d.state = 'failed' AND d.failed_count > 0 AND o.tenant_id = d.tenant_id AND o.run_id = d.id
                 AND o.batch = 0 AND coalesce(o.state, '') = 'failed' AND NOT o.handled
                 -- a step that waits for this run is given up, or goes on: retried here, nothing would reach it
                 AND (SELECT true FROM step_run w
                       WHERE w.tenant_id = d.tenant_id AND w.run_id = d.parent_id AND w.ordinal = d.parent_ordinal AND w.batch = 0
                         AND coalesce(w.state, '') = 'waiting' AND w.wait_reason = 'child' AND w.wait_key = d.id::text) IS NOT TRUE
              OFFSET 0) f
          CROSS JOIN LATERAL (
              SELECT coalesce(j ->> 'code', 'error') AS code, j ->> 'type' AS type, coalesce(j ->> 'message', '') AS message
                FROM (SELECT f.error::json AS j) x) e
        ON CONFLICT DO NOTHING
    ), raised AS (
        -- a run that was retried and does not fail now leaves nothing behind
        DELETE FROM dead_letter t USING done d
         WHERE d.failed_count > 0 AND d.state <> 'failed' AND t.tenant_id = d.tenant_id AND t.run_id = d.id
    ), told AS (
        INSERT INTO event (tenant_id, seq, at, type, run_id, value_s, data)
        SELECT d.tenant_id, (SELECT b.seq FROM base b WHERE b.tenant_id = d.tenant_id) + row_number() OVER (PARTITION BY d.tenant_id ORDER BY d.id), p_now,
               'run.' || d.state, d.id, extract(epoch FROM p_now - coalesce(d.started_at, d.created_at)), d.error
          FROM done d
    ), load AS (
        UPDATE tenant_load l SET seq = l.seq + g.n, active_runs = l.active_runs - g.n
          FROM (SELECT tenant_id, count(*) AS n FROM done GROUP BY tenant_id) g
         CROSS JOIN LATERAL (SELECT o.ctid AS tid FROM tenant_load o WHERE o.tenant_id = g.tenant_id OFFSET 0) o
         WHERE l.ctid = o.tid
    )
    SELECT array_agg(u.tenant_id), array_agg(u.id), array_agg(u.error), w.tenants, w.runs
      INTO u_tenants, u_runs, u_errors, w_tenants, w_runs
      FROM (SELECT array_agg(d.tenant_id) AS tenants, array_agg(d.id) AS runs FROM done d WHERE d.awaited) w
      LEFT JOIN undoes u ON true GROUP BY w.tenants, w.runs;
    IF w_runs IS NOT NULL THEN
        PERFORM engine_finished(w_tenants, w_runs, p_now);
    END IF;
    u_runs := array_remove(u_runs, NULL);
    IF cardinality(u_runs) > 0 THEN
        PERFORM engine_undo_begin(u_tenants, u_runs, u_errors, NULL, p_now);
    END IF;
    IF EXISTS (SELECT 1 FROM quota q WHERE q.tenant_id = ANY (p_tenants) AND NOT q.keep_outputs) THEN
        PERFORM engine_spend(p_tenants, p_runs);
    END IF;
END
$$;
