-- Purpose: write what Python decided of steps that call no handler (sleep, signal, child run): they
--          wait, or what they waited for ends them, or they wait once more (a retry, a repetition).
-- Guard:   takes the tenants' mutexes; counts only where the control row has the same epoch.
-- Input:   parallel arrays.  verdict: waiting, succeeded, failed, cancelled.  `value`: the output's or
--          the error's JSON (of a retry too).  `fallback`: the value in a failure's place.  Of what
--          waits: `reason` (sleep, signal, child, retry, repeat), `key` (the signal's name, the
--          child's id), `delay` in seconds (null: until it comes; a sleep's counts from when the step
--          was ready), `args` to be kept.  `counts`: whether it used an attempt.  Of a child: its
--          version, input and concurrency key; it has its parent's priority and labels.
CREATE OR REPLACE FUNCTION engine_settle_waits(
    p_tenants int[], p_runs uuid[], p_ordinals int[], p_batches int[], p_epochs int[],
    p_verdicts text[], p_values text[], p_fallbacks text[], p_reasons text[], p_keys text[],
    p_delays double precision[], p_args text[], p_counts boolean[],
    p_versions bigint[], p_inputs text[], p_concurrency text[]
) RETURNS void LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    v_us bigint;
    v_now timestamptz;
    v_waits int[];
    d_tenants int[];
    d_runs uuid[];
    d_versions bigint[];
    d_ordinals int[];
    d_states text[];
BEGIN
    PERFORM engine_lock(p_tenants);
    v_now := clock_timestamp();
    v_us := engine_micros(v_now);

    WITH base AS MATERIALIZED (
        SELECT l.tenant_id, l.seq FROM tenant_load l WHERE l.tenant_id = ANY (p_tenants)
    ), given AS (
        SELECT * FROM unnest(p_tenants, p_runs, p_ordinals, p_batches, p_epochs, p_verdicts, p_values, p_fallbacks,
                             p_reasons, p_keys, p_delays, p_args, p_counts) WITH ORDINALITY
               AS g (tenant_id, run_id, ordinal, batch, epoch, verdict, value, fallback, why, key, delay, args,
                     counts, idx)
    ), taken AS (
        DELETE FROM control c USING given g
         CROSS JOIN LATERAL (
             SELECT o.ctid AS tid FROM control o
              WHERE (o.tenant_id = g.tenant_id) IS TRUE AND o.run_id = g.run_id
                AND o.ordinal = g.ordinal AND o.batch = g.batch AND o.epoch = g.epoch
             OFFSET 0) o
         WHERE c.ctid = o.tid
        RETURNING g.*, g.verdict = 'failed' AND g.fallback IS NOT NULL AS saved
    ), done AS (
        UPDATE step_run s SET
            state = CASE WHEN t.saved THEN 'succeeded' ELSE t.verdict END,
            parked = NULL,
            output = CASE WHEN t.verdict = 'succeeded' THEN t.value WHEN t.saved THEN t.fallback END,
            error = CASE WHEN t.verdict <> 'succeeded' THEN coalesce(t.value, s.error) END,
            handled = t.saved,
            attempts = CASE WHEN t.why = 'repeat' THEN 0 ELSE s.attempts + t.counts::int END,
            repeats = s.repeats + coalesce(t.why = 'repeat', false)::int,
            args = CASE WHEN t.verdict = 'waiting' THEN coalesce(s.args, t.args) END,
            wait_reason = t.why,
            wait_key = coalesce(t.key, s.wait_key),
            due_at = CASE WHEN t.why = 'sleep' THEN s.ready_at ELSE v_now END + t.delay * interval '1 second',
            charged_s = coalesce(t.delay, 0),
            started_at = CASE WHEN t.why IN ('sleep', 'signal', 'child') THEN v_now ELSE s.started_at END,
            finished_at = CASE WHEN t.verdict <> 'waiting' THEN v_now END
          FROM taken t
          CROSS JOIN LATERAL (
              SELECT o.ctid AS tid FROM step_run o
               WHERE o.tenant_id = t.tenant_id AND o.run_id = t.run_id AND o.ordinal = t.ordinal AND o.batch = t.batch
                 AND (coalesce(o.state, '') = 'ready' AND coalesce(o.parked, '') = 'control'
                      OR coalesce(o.state, '') = 'waiting' AND coalesce(o.wait_reason, '') = 'ended')
              OFFSET 0) o
         WHERE s.ctid = o.tid
        RETURNING s.tenant_id, s.run_id, s.version_id, s.ordinal, s.batch, s.state, s.error, s.attempts, s.due_at,
                  s.wait_reason, s.wait_key, t.counts, t.idx
    ), begun AS (
        UPDATE run r SET state = 'running', started_at = v_now,
               expires_at = least(r.deadline_at, v_now + r.timeout_ms * interval '1 millisecond')
          FROM (SELECT DISTINCT d.run_id FROM done d WHERE d.wait_reason IN ('sleep', 'signal', 'child')) d
          CROSS JOIN LATERAL (
              SELECT o.ctid AS tid FROM run o
               WHERE o.id = d.run_id AND coalesce(o.state, '') = 'queued' OFFSET 0) o
         WHERE r.ctid = o.tid
        RETURNING r.tenant_id, r.id, coalesce(r.start_at, r.created_at) AS since
    ), said AS (
        SELECT b.tenant_id, 'run.running' AS type, b.id AS run_id, NULL::int AS ordinal, NULL::int AS batch,
               NULL::int AS attempt, extract(epoch FROM v_now - b.since) AS value_s, NULL::text AS data, 0 AS idx
          FROM begun b
        UNION ALL
        SELECT d.tenant_id,
               CASE WHEN d.wait_reason = 'retry' THEN 'step.retrying' ELSE 'step.' || d.state END,
               d.run_id, d.ordinal, d.batch, d.attempts + (NOT d.counts)::int, NULL,
               CASE WHEN d.state = 'waiting' AND d.wait_reason <> 'retry' THEN
                        json_build_object('reason', d.wait_reason, 'until', d.due_at, 'key',
                            CASE WHEN d.wait_reason IN ('signal', 'child') THEN d.wait_key END)::text
                    ELSE d.error END, d.idx
          FROM done d
    ), told AS (
        INSERT INTO event (tenant_id, seq, at, type, run_id, ordinal, batch, attempt, value_s, data)
        SELECT e.tenant_id, (SELECT b.seq FROM base b WHERE b.tenant_id = e.tenant_id) + row_number() OVER (PARTITION BY e.tenant_id ORDER BY e.idx, e.run_id),
               v_now, e.type, e.run_id, e.ordinal, e.batch, e.attempt, e.value_s, e.data
          FROM said e
    ), load AS (
        UPDATE tenant_load l SET
            seq = l.seq + coalesce((SELECT count(*) FROM said e WHERE e.tenant_id = l.tenant_id), 0),
            control_count = l.control_count - g.n
          FROM (SELECT tenant_id, count(*) AS n FROM taken GROUP BY tenant_id) g
         CROSS JOIN LATERAL (SELECT o.ctid AS tid FROM tenant_load o WHERE o.tenant_id = g.tenant_id OFFSET 0) o
         WHERE l.ctid = o.tid
    )
    SELECT array_agg(d.tenant_id) FILTER (WHERE d.state <> 'waiting'),
           array_agg(d.run_id) FILTER (WHERE d.state <> 'waiting'),
           array_agg(d.version_id) FILTER (WHERE d.state <> 'waiting'),
           array_agg(d.ordinal) FILTER (WHERE d.state <> 'waiting'),
           array_agg(d.state) FILTER (WHERE d.state <> 'waiting'),
           array_agg(d.idx::int) FILTER (WHERE d.wait_reason IN ('signal', 'child'))
      INTO d_tenants, d_runs, d_versions, d_ordinals, d_states, v_waits
      FROM done d;

    IF v_waits IS NOT NULL THEN
        PERFORM engine_take(
            array_agg(p_tenants[i]), array_agg(p_runs[i]), array_agg(p_ordinals[i]), array_agg(p_keys[i]), v_now)
           FROM unnest(v_waits) AS i WHERE p_reasons[i] = 'signal' HAVING count(*) > 0;
        PERFORM engine_begin_children(
            array_agg(p_tenants[i]), array_agg(p_runs[i]), array_agg(p_ordinals[i]), array_agg(p_keys[i]),
            array_agg(p_versions[i]), array_agg(p_inputs[i]), array_agg(p_concurrency[i]), v_now)
           FROM unnest(v_waits) AS i WHERE p_reasons[i] = 'child' HAVING count(*) > 0;
    END IF;
    IF d_runs IS NOT NULL THEN
        PERFORM engine_propagate(d_tenants, d_runs, d_versions, d_ordinals, d_states, v_now);
    END IF;
END
$$;
