-- Purpose: a source has read a chunk: keep its items and its cursor, in the transaction that ends the
--          attempt, so that a crash repeats this chunk or none of it.
-- Guard:   under the tenants' mutexes.  Input: entries with batch -3 count, others are left alone.
-- The chunk is the row's output: {count, cursor, ended, packs}; a pack that begins with the batch that
-- the chunk before left incomplete holds that batch alone, and its items are appended.
CREATE OR REPLACE FUNCTION engine_map_read(
    p_tenants int[], p_runs uuid[], p_ordinals int[], p_batches int[]
) RETURNS void LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
BEGIN
    INSERT INTO map_pack AS p (tenant_id, run_id, ordinal, batch, count, batches)
    SELECT d.tenant_id, d.run_id, d.ordinal, (k.value ->> 0)::int, (k.value ->> 1)::int, (k.value -> 2)::text
      FROM unnest(p_tenants, p_runs, p_ordinals, p_batches) AS d (tenant_id, run_id, ordinal, batch)
     CROSS JOIN LATERAL (
         SELECT o.output FROM step_run o
          WHERE o.tenant_id = d.tenant_id AND o.run_id = d.run_id AND o.ordinal = d.ordinal AND o.batch = -3
            AND coalesce(o.state, '') = 'succeeded' AND o.output IS NOT NULL OFFSET 0) s
     CROSS JOIN LATERAL json_array_elements(s.output::json -> 'packs') AS k (value)
     WHERE d.batch = -3
    ON CONFLICT (run_id, ordinal, batch) DO UPDATE SET
        batches = left(p.batches, -2) || ',' || substr(excluded.batches, 3);

    WITH chunk AS MATERIALIZED (
        SELECT m.tid AS map_tid, s.tid AS row_tid, s.state, s.error, x.count, x.cursor, x.ended
          FROM unnest(p_tenants, p_runs, p_ordinals, p_batches) AS d (tenant_id, run_id, ordinal, batch)
         CROSS JOIN LATERAL (
             SELECT o.ctid AS tid FROM map_state o WHERE o.run_id = d.run_id AND o.ordinal = d.ordinal OFFSET 0) m
         CROSS JOIN LATERAL (
             SELECT o.ctid AS tid, o.state, o.error, o.output FROM step_run o
              WHERE o.tenant_id = d.tenant_id AND o.run_id = d.run_id AND o.ordinal = d.ordinal AND o.batch = -3
                AND o.finished_at IS NOT NULL OFFSET 0) s
          LEFT JOIN LATERAL json_to_record(s.output::json) AS x (count int, cursor json, ended boolean) ON true
         WHERE d.batch = -3
    ), idle AS (
        UPDATE step_run s SET
            state = 'waiting', wait_reason = 'source', finished_at = NULL, output = NULL, attempts = 0, losses = 0,
            suspect = false
          FROM chunk c
         WHERE s.ctid = c.row_tid AND c.state = 'succeeded' AND NOT c.ended
    ), over AS (
        UPDATE step_run s SET output = NULL FROM chunk c
         WHERE s.ctid = c.row_tid AND c.state = 'succeeded' AND c.ended
    )
    UPDATE map_state m SET
        total = m.total + coalesce(c.count, 0),
        cursor = coalesce(c.cursor::text, m.cursor),
        source = CASE WHEN c.state = 'succeeded' AND NOT c.ended THEN 'idle' ELSE 'done' END,
        error = CASE WHEN c.state = 'failed' AND m.closing IS NULL THEN c.error ELSE m.error END,
        closing = coalesce(m.closing, CASE c.state WHEN 'failed' THEN 'failed' WHEN 'cancelled' THEN 'cancel' END)
      FROM chunk c
     WHERE m.ctid = c.map_tid;
END
$$;
