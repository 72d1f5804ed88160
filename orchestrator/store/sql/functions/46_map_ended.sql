-- Purpose: what rows of maps (batches; -3, the source) came to: count them, then go on with the maps.
-- Guard:   under the tenants' mutexes; the rows are already written.  Called only when there are such
--          rows; those that are ready or waiting again are given too: a map that ends cancels them.
CREATE OR REPLACE FUNCTION engine_map_ended(
    p_tenants int[], p_runs uuid[], p_ordinals int[], p_batches int[], p_now timestamptz
) RETURNS void LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
BEGIN
    WITH ended AS (
        SELECT m.tid, s.batch, s.state, s.error, least(m.batch_size, m.total - (s.batch - 1) * m.batch_size) AS items
          FROM unnest(p_tenants, p_runs, p_ordinals, p_batches) AS d (tenant_id, run_id, ordinal, batch)
         CROSS JOIN LATERAL (
             SELECT o.ctid AS tid, o.batch_size, o.total FROM map_state o
              WHERE o.run_id = d.run_id AND o.ordinal = d.ordinal OFFSET 0) m
         CROSS JOIN LATERAL (
             SELECT o.batch, o.state, o.error FROM step_run o
              WHERE o.tenant_id = d.tenant_id AND o.run_id = d.run_id AND o.ordinal = d.ordinal
                AND o.batch = d.batch AND o.finished_at IS NOT NULL OFFSET 0) s
         WHERE d.batch > 0
    ), summed AS (
        SELECT e.tid, count(*)::int AS batches,
               coalesce(sum(e.items) FILTER (WHERE e.state <> 'cancelled'), 0)::int AS done,
               coalesce(sum(CASE e.state WHEN 'failed' THEN e.items
                                         WHEN 'succeeded' THEN (e.error::json ->> 'failed')::int END), 0)::int AS failed,
               (array_agg(e.error ORDER BY e.batch) FILTER (WHERE e.error IS NOT NULL AND e.state <> 'cancelled'))[1] AS error
          FROM ended e GROUP BY e.tid
    )
    UPDATE map_state m SET
        in_flight = m.in_flight - s.batches,
        done = m.done + s.done,
        failed = m.failed + s.failed,
        error = coalesce(m.error, s.error),
        closing = coalesce(m.closing, CASE
            WHEN m.mode = 'fail_fast' AND s.failed > 0 THEN 'failed'
            WHEN m.mode = 'max_failures' AND m.failed + s.failed > m.max_failures THEN 'failed' END)
      FROM summed s
     WHERE m.ctid = s.tid;

    IF -3 = ANY (p_batches) THEN
        PERFORM engine_map_read(p_tenants, p_runs, p_ordinals, p_batches);
    END IF;
    PERFORM engine_map_go(p_tenants, p_runs, p_ordinals, p_now);
END
$$;
