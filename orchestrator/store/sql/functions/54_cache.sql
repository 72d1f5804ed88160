-- Purpose: steps with a `cache`: what becomes of them when their key is known (answered, waiting for
--          the step that makes it, or making it), and of those that wait when the maker has ended.
-- Guard:   under the tenants' mutexes, so one step makes an output however many ask for it.
-- Indexes: cache_entry's key, cache_flight's key, cache_flight_single, cache_flight_line.

-- In: the arrays of engine_decide; a verdict `cache` has {key, ttl_ms, control} as its value.
-- Out: the same with `cached` (value: the output), `waiting` (value: the reason), `ready` or, where what
-- makes the output is control work itself (a map, a child run), `begin` instead.
CREATE OR REPLACE FUNCTION engine_cache_ask(
    p_tenants int[], p_runs uuid[], p_ordinals int[], p_batches int[], p_epochs int[],
    INOUT p_verdicts text[], INOUT p_values text[], p_now timestamptz
) LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    v_key text;
    v_ttl_ms bigint;
    v_output text;
    v_flying boolean;
    v_control boolean;
BEGIN
    FOR i IN 1 .. cardinality(p_verdicts) LOOP
        CONTINUE WHEN p_verdicts[i] <> 'cache';
        PERFORM 1 FROM control c
          WHERE c.run_id = p_runs[i] AND c.ordinal = p_ordinals[i] AND c.batch = p_batches[i]
            AND (c.tenant_id = p_tenants[i]) IS TRUE AND c.epoch = p_epochs[i];
        CONTINUE WHEN NOT FOUND;  -- a late verdict, which engine_decide passes over
        v_key := p_values[i]::json ->> 'key';
        v_ttl_ms := (p_values[i]::json ->> 'ttl_ms')::bigint;
        SELECT e.output INTO v_output FROM cache_entry e
         WHERE e.tenant_id = p_tenants[i] AND e.key = v_key AND e.expires_at > p_now;
        IF FOUND THEN
            p_verdicts[i] := 'cached';
            p_values[i] := engine_adopt(v_output, p_tenants[i], p_runs[i], NULL);
            CONTINUE;
        END IF;
        v_control := coalesce((p_values[i]::json ->> 'control')::boolean, false);
        v_flying := NOT EXISTS (
            SELECT 1 FROM cache_flight f WHERE f.tenant_id = p_tenants[i] AND f.key = v_key AND f.flying);
        INSERT INTO cache_flight (run_id, ordinal, batch, tenant_id, key, ttl_ms, flying, control, created_at)
        VALUES (p_runs[i], p_ordinals[i], p_batches[i], p_tenants[i], v_key, v_ttl_ms, v_flying, v_control, p_now)
        ON CONFLICT (run_id, ordinal, batch) DO UPDATE
           SET key = excluded.key, ttl_ms = excluded.ttl_ms, flying = excluded.flying, control = excluded.control,
               created_at = excluded.created_at;
        p_verdicts[i] := CASE WHEN NOT v_flying THEN 'waiting' WHEN v_control THEN 'begin' ELSE 'ready' END;
        p_values[i] := CASE WHEN v_flying THEN NULL ELSE 'cache' END;
    END LOOP;
END
$$;

-- In: the arrays of engine_decide.  Asks Python to begin what makes an output (verdict `begin`).
CREATE OR REPLACE FUNCTION engine_cache_begin(
    p_tenants int[], p_runs uuid[], p_ordinals int[], p_batches int[], p_verdicts text[], p_now timestamptz
) RETURNS void LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
BEGIN
    WITH asked AS (
        INSERT INTO control (tenant_id, run_id, ordinal, batch, kind, created_at)
        SELECT d.tenant_id, d.run_id, d.ordinal, d.batch, 'begin', p_now
          FROM unnest(p_tenants, p_runs, p_ordinals, p_batches, p_verdicts) AS d (tenant_id, run_id, ordinal, batch, verdict)
         CROSS JOIN LATERAL (
             SELECT 1 FROM step_run o
              WHERE o.tenant_id = d.tenant_id AND o.run_id = d.run_id AND o.ordinal = d.ordinal AND o.batch = d.batch
                AND coalesce(o.state, '') = 'ready' AND coalesce(o.parked, '') = 'control' OFFSET 0) s
         WHERE d.verdict = 'begin'
        ON CONFLICT DO NOTHING
        RETURNING tenant_id
    )
    UPDATE tenant_load l SET control_count = l.control_count + g.n
      FROM (SELECT tenant_id, count(*) AS n FROM asked GROUP BY tenant_id) g
     CROSS JOIN LATERAL (SELECT o.ctid AS tid FROM tenant_load o WHERE o.tenant_id = g.tenant_id OFFSET 0) o
     WHERE l.ctid = o.tid;
END
$$;

-- In: step runs that have just ended (their rows are written).  Keeps the outputs that were made, and
-- settles who waited for them.  Out: the step runs that ended by that.
CREATE OR REPLACE FUNCTION engine_cache_land(
    p_tenants int[], p_runs uuid[], p_ordinals int[], p_now timestamptz,
    OUT o_tenants int[], OUT o_runs uuid[], OUT o_versions bigint[], OUT o_ordinals int[], OUT o_states text[]
) LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    v_tenants int[];
    v_keys text[];
BEGIN
    WITH landed AS (
        DELETE FROM cache_flight f
         USING unnest(p_tenants, p_runs, p_ordinals) AS d (tenant_id, run_id, ordinal)
         CROSS JOIN LATERAL (
             SELECT o.ctid AS tid FROM cache_flight o
              WHERE o.run_id = d.run_id AND o.ordinal = d.ordinal AND o.batch = 0 OFFSET 0) o
         WHERE f.ctid = o.tid
        RETURNING f.*
    ), replaced AS (
        DELETE FROM payload p USING landed l
         WHERE l.flying AND p.tenant_id = l.tenant_id AND p.cache_key IS NOT NULL AND p.cache_key = l.key
    ), kept AS (
        -- a value in place of a failure is no output, and nothing to keep
        INSERT INTO cache_entry AS e (tenant_id, key, output, created_at, expires_at)
        SELECT l.tenant_id, l.key, engine_adopt(s.output, l.tenant_id, NULL, l.key), p_now, p_now + l.ttl_ms * interval '1 millisecond'
          FROM landed l
         CROSS JOIN LATERAL (
             SELECT o.output FROM step_run o
              WHERE o.tenant_id = l.tenant_id AND o.run_id = l.run_id AND o.ordinal = l.ordinal AND o.batch = 0
                AND coalesce(o.state, '') = 'succeeded' AND NOT o.handled OFFSET 0) s
         WHERE l.flying
        ON CONFLICT (tenant_id, key) DO UPDATE
           SET output = excluded.output, created_at = excluded.created_at, expires_at = excluded.expires_at
    )
    SELECT array_agg(l.tenant_id), array_agg(l.key) INTO v_tenants, v_keys FROM landed l WHERE l.flying;
    o_tenants := '{}'; o_runs := '{}'; o_versions := '{}'; o_ordinals := '{}'; o_states := '{}';
    IF v_keys IS NOT NULL THEN
        SELECT * INTO o_tenants, o_runs, o_versions, o_ordinals, o_states
          FROM engine_cache_settle(v_tenants, v_keys, 1000, p_now);
    END IF;
END
$$;

-- In: keys whose maker has ended.  Who waits takes the output where there is one (at most p_limit of a
-- key, the clock does the rest); else the first of them makes it, one of a paused run last.
-- Out: the step runs that ended.
CREATE OR REPLACE FUNCTION engine_cache_settle(
    p_tenants int[], p_keys text[], p_limit int, p_now timestamptz,
    OUT o_tenants int[], OUT o_runs uuid[], OUT o_versions bigint[], OUT o_ordinals int[], OUT o_states text[]
) LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    v_us bigint := engine_micros(p_now);
    v_output text;
    v_pauses boolean;
    d_runs uuid[];
    d_versions bigint[];
    d_ordinals int[];
BEGIN
    o_tenants := '{}'; o_runs := '{}'; o_versions := '{}'; o_ordinals := '{}'; o_states := '{}';
    FOR i IN 1 .. cardinality(p_keys) LOOP
        SELECT e.output INTO v_output FROM cache_entry e
         WHERE e.tenant_id = p_tenants[i] AND e.key = p_keys[i] AND e.expires_at > p_now;
        IF FOUND THEN
            WITH taken AS (
                DELETE FROM cache_flight f
                 USING (SELECT o.ctid AS tid FROM cache_flight o
                         WHERE o.tenant_id = p_tenants[i] AND o.key = p_keys[i] AND NOT o.flying
                         ORDER BY o.created_at LIMIT p_limit) o
                 WHERE f.ctid = o.tid
                RETURNING f.run_id, f.ordinal, f.batch
            ), done AS (
                UPDATE step_run s SET state = 'succeeded', reason = 'cached',
                                      output = engine_adopt(v_output, p_tenants[i], t.run_id, NULL),
                                      wait_reason = NULL, finished_at = p_now
                  FROM taken t
                 CROSS JOIN LATERAL (
                     SELECT o.ctid AS tid FROM step_run o
                      WHERE o.tenant_id = p_tenants[i] AND o.run_id = t.run_id AND o.ordinal = t.ordinal
                        AND o.batch = t.batch AND coalesce(o.state, '') = 'waiting' AND o.wait_reason = 'cache'
                     OFFSET 0) o
                 WHERE s.ctid = o.tid
                RETURNING s.run_id, s.version_id, s.ordinal, s.batch
            ), told AS (
                INSERT INTO event (tenant_id, seq, at, type, run_id, ordinal, batch, data)
                SELECT p_tenants[i],
                       (SELECT l.seq FROM tenant_load l WHERE l.tenant_id = p_tenants[i])
                       + row_number() OVER (ORDER BY d.run_id, d.ordinal),
                       p_now, 'step.succeeded', d.run_id, d.ordinal, d.batch, '{"cached":true}'
                  FROM done d
            ), load AS (
                UPDATE tenant_load l SET seq = l.seq + (SELECT count(*) FROM done) WHERE l.tenant_id = p_tenants[i]
            )
            SELECT array_agg(d.run_id), array_agg(d.version_id), array_agg(d.ordinal)
              INTO d_runs, d_versions, d_ordinals FROM done d;
            IF d_runs IS NOT NULL THEN
                o_tenants := o_tenants || array_fill(p_tenants[i], ARRAY[cardinality(d_runs)]);
                o_runs := o_runs || d_runs;
                o_versions := o_versions || d_versions;
                o_ordinals := o_ordinals || d_ordinals;
                o_states := o_states || array_fill('succeeded'::text, ARRAY[cardinality(d_runs)]);
            END IF;
            CONTINUE;
        END IF;

        CONTINUE WHEN EXISTS (
            SELECT 1 FROM cache_flight f WHERE f.tenant_id = p_tenants[i] AND f.key = p_keys[i] AND f.flying);
        -- whether anything is paused at all: the line may be long
        v_pauses := (SELECT l.paused_count > 0 FROM tenant_load l WHERE l.tenant_id = p_tenants[i]);
        WITH next AS (
            UPDATE cache_flight f SET flying = true
              FROM (SELECT o.ctid AS tid FROM cache_flight o
                     WHERE o.tenant_id = p_tenants[i] AND o.key = p_keys[i] AND NOT o.flying
                     ORDER BY CASE WHEN v_pauses THEN engine_paused(o.run_id) ELSE false END, o.created_at, o.run_id, o.ordinal LIMIT 1) o
             WHERE f.ctid = o.tid
            RETURNING f.run_id, f.ordinal, f.batch, f.control
        ), done AS (
            UPDATE step_run s SET state = 'ready', wait_reason = NULL, ready_at = p_now,
                                  parked = CASE WHEN n.control THEN 'control' END,
                                  rank = v_us - s.priority * 60000000::bigint
              FROM next n
             CROSS JOIN LATERAL (
                 SELECT o.ctid AS tid FROM step_run o
                  WHERE o.tenant_id = p_tenants[i] AND o.run_id = n.run_id AND o.ordinal = n.ordinal
                    AND o.batch = n.batch AND coalesce(o.state, '') = 'waiting' AND o.wait_reason = 'cache'
                 OFFSET 0) o
             WHERE s.ctid = o.tid
            RETURNING s.run_id, s.ordinal, s.batch, n.control
        ), asked AS (
            INSERT INTO control (tenant_id, run_id, ordinal, batch, kind, created_at)
            SELECT p_tenants[i], d.run_id, d.ordinal, d.batch, 'begin', p_now FROM done d WHERE d.control
        ), told AS (
            INSERT INTO event (tenant_id, seq, at, type, run_id, ordinal, batch)
            SELECT p_tenants[i], (SELECT l.seq + 1 FROM tenant_load l WHERE l.tenant_id = p_tenants[i]),
                   p_now, 'step.ready', d.run_id, d.ordinal, d.batch
              FROM done d
        )
        UPDATE tenant_load l SET seq = l.seq + d.n, ready_count = l.ready_count + d.n - d.asked,
                                 control_count = l.control_count + d.asked
          FROM (SELECT count(*)::int AS n, (count(*) FILTER (WHERE control))::int AS asked FROM done) d
         WHERE l.tenant_id = p_tenants[i] AND d.n > 0;
    END LOOP;
END
$$;
