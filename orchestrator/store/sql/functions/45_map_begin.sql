-- Purpose: begin maps: keep what Python made of `over`, and start their first batches.
-- Guard:   under the tenants' mutexes; the steps' rows (batch 0) are `waiting` with the reason map.
-- Input:   parallel arrays; value: {batch_size, max_in_flight, mode, max_failures, ordered, collect,
--          max_bytes, total, packs: [[first batch, batches, [[item, …], …]], …], source, queue}.
-- A map that begins again (its step is retried) starts from nothing; only the fence goes on.
CREATE OR REPLACE FUNCTION engine_map_begin(
    p_tenants int[], p_runs uuid[], p_versions bigint[], p_ordinals int[], p_values text[], p_now timestamptz
) RETURNS void LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
BEGIN
    INSERT INTO map_state (tenant_id, run_id, ordinal, version_id, batch_size, max_in_flight, mode, max_failures,
                           ordered, collect, max_bytes, total, source, epoch)
    SELECT d.tenant_id, d.run_id, d.ordinal, d.version_id, x.batch_size, x.max_in_flight, x.mode, x.max_failures,
           x.ordered, x.collect, x.max_bytes, x.total, CASE WHEN x.source IS NOT NULL THEN 'active' END, 0
      FROM unnest(p_tenants, p_runs, p_versions, p_ordinals, p_values) AS d (tenant_id, run_id, version_id, ordinal, value)
     CROSS JOIN LATERAL json_to_record(d.value::json) AS x (
           batch_size int, max_in_flight int, mode text, max_failures int, ordered boolean, collect boolean,
           max_bytes bigint, total int, source text)
    ON CONFLICT (run_id, ordinal) DO UPDATE SET
           total = excluded.total, source = excluded.source, max_bytes = excluded.max_bytes,
           done = 0, failed = 0, started = 0, in_flight = 0, cursor = NULL, closing = NULL, error = NULL,
           errors = NULL, finished_at = NULL, again = 0, again_after = 0,
           epoch = greatest(map_state.epoch, (SELECT max(o.epoch) FROM step_run o
                              WHERE o.tenant_id = excluded.tenant_id AND o.run_id = excluded.run_id
                                AND o.ordinal = excluded.ordinal AND o.batch <> 0));

    DELETE FROM step_run s USING unnest(p_tenants, p_runs, p_ordinals) AS d (tenant_id, run_id, ordinal)
     CROSS JOIN LATERAL (
         SELECT o.ctid AS tid FROM step_run o
          WHERE o.tenant_id = d.tenant_id AND o.run_id = d.run_id AND o.ordinal = d.ordinal
            AND (o.batch > 0 OR o.batch = -3) OFFSET 0) o
     WHERE s.ctid = o.tid;
    DELETE FROM map_pack p USING unnest(p_runs, p_ordinals) AS d (run_id, ordinal)
     CROSS JOIN LATERAL (
         SELECT o.ctid AS tid FROM map_pack o WHERE o.run_id = d.run_id AND o.ordinal = d.ordinal OFFSET 0) o
     WHERE p.ctid = o.tid;

    INSERT INTO map_pack (tenant_id, run_id, ordinal, batch, count, batches)
    SELECT d.tenant_id, d.run_id, d.ordinal, (k.value ->> 0)::int, (k.value ->> 1)::int, (k.value -> 2)::text
      FROM unnest(p_tenants, p_runs, p_ordinals, p_values) AS d (tenant_id, run_id, ordinal, value)
     CROSS JOIN LATERAL json_array_elements(d.value::json -> 'packs') AS k (value);

    WITH base AS MATERIALIZED (
        SELECT l.tenant_id, l.seq FROM tenant_load l WHERE l.tenant_id = ANY (p_tenants)
    ), given AS (
        SELECT d.tenant_id, d.run_id, d.ordinal, x.source, x.queue, s.version_id, s.rule, s.limited, s.priority, m.epoch
          FROM unnest(p_tenants, p_runs, p_ordinals, p_values) AS d (tenant_id, run_id, ordinal, value)
         CROSS JOIN LATERAL json_to_record(d.value::json) AS x (source text, queue text)
         CROSS JOIN LATERAL (
             SELECT o.version_id, o.rule, o.limited, o.priority FROM step_run o
              WHERE o.tenant_id = d.tenant_id AND o.run_id = d.run_id AND o.ordinal = d.ordinal AND o.batch = 0
             OFFSET 0) s
         CROSS JOIN LATERAL (
             SELECT o.epoch FROM map_state o WHERE o.run_id = d.run_id AND o.ordinal = d.ordinal OFFSET 0) m
    ), made AS (
        INSERT INTO step_run (tenant_id, run_id, ordinal, batch, version_id, handler_id, queue, rule, state,
                              limited, rank, priority, ready_at, epoch, args)
        SELECT g.tenant_id, g.run_id, g.ordinal, -3, g.version_id,
               (SELECT h.id FROM handler h WHERE h.name = g.source), g.queue, g.rule, 'ready', g.limited,
               engine_micros(p_now) - g.priority * 60000000::bigint, g.priority, p_now, g.epoch,
               '{"total":0,"cursor":null}'
          FROM given g WHERE g.source IS NOT NULL
        RETURNING tenant_id, run_id, ordinal, batch
    ), said AS (
        SELECT g.tenant_id, g.run_id, g.ordinal, 0 AS batch, 'step.running' AS type FROM given g
        UNION ALL
        SELECT m.tenant_id, m.run_id, m.ordinal, m.batch, 'step.ready' FROM made m
    ), told AS (
        INSERT INTO event (tenant_id, seq, at, type, run_id, ordinal, batch, attempt)
        SELECT d.tenant_id, (SELECT b.seq FROM base b WHERE b.tenant_id = d.tenant_id)
               + row_number() OVER (PARTITION BY d.tenant_id ORDER BY d.run_id, d.ordinal, d.batch DESC),
               p_now, d.type, d.run_id, d.ordinal, d.batch, 1
          FROM said d
    )
    UPDATE tenant_load l SET seq = l.seq + g.n, ready_count = l.ready_count + g.ready
      FROM (SELECT tenant_id, count(*) AS n, count(*) FILTER (WHERE batch = -3) AS ready
              FROM said GROUP BY tenant_id) g
     CROSS JOIN LATERAL (SELECT o.ctid AS tid FROM tenant_load o WHERE o.tenant_id = g.tenant_id OFFSET 0) o
     WHERE l.ctid = o.tid;

    PERFORM engine_map_go(p_tenants, p_runs, p_ordinals, p_now);
END
$$;
