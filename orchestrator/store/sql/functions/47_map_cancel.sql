-- Purpose: of maps that close, cancel the rows that have not started, and drop the items of the rest,
--          unless a compensation may yet have them tried; what runs is told by its worker.
-- Guard:   under the tenants' mutexes.
CREATE OR REPLACE FUNCTION engine_map_cancel(
    p_tenants int[], p_runs uuid[], p_ordinals int[], p_now timestamptz
) RETURNS void LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
BEGIN
    DELETE FROM map_pack p USING unnest(p_runs, p_ordinals) AS d (run_id, ordinal)
     CROSS JOIN LATERAL (
         SELECT o.version_id, o.closing FROM map_state o WHERE o.run_id = d.run_id AND o.ordinal = d.ordinal OFFSET 0) m
     CROSS JOIN LATERAL (
         SELECT o.ctid AS tid FROM map_pack o WHERE o.run_id = d.run_id AND o.ordinal = d.ordinal OFFSET 0) o
     WHERE p.ctid = o.tid
       AND NOT (m.closing = 'failed' AND EXISTS (
                SELECT 1 FROM version_call c
                 WHERE c.version_id = m.version_id AND c.ordinal = d.ordinal AND c.batch = -1));

    WITH base AS MATERIALIZED (
        SELECT l.tenant_id, l.seq FROM tenant_load l WHERE l.tenant_id = ANY (p_tenants)
    ), target AS MATERIALIZED (
        SELECT s.* FROM unnest(p_tenants, p_runs, p_ordinals) AS d (tenant_id, run_id, ordinal)
         CROSS JOIN LATERAL (
             SELECT o.ctid AS tid, o.state = 'ready' AND o.parked IS NULL AS claimable FROM step_run o
              WHERE o.tenant_id = d.tenant_id AND o.run_id = d.run_id AND o.ordinal = d.ordinal
                AND (o.batch > 0 OR o.batch = -3) AND coalesce(o.state, '') IN ('ready', 'waiting') OFFSET 0) s
    ), done AS (
        UPDATE step_run s SET state = 'cancelled', parked = NULL, finished_at = p_now, due_at = NULL,
                              wait_reason = NULL
          FROM target t
         WHERE s.ctid = t.tid
        RETURNING s.tenant_id, s.run_id, s.ordinal, s.batch, t.claimable
    ), told AS (
        INSERT INTO event (tenant_id, seq, at, type, run_id, ordinal, batch)
        SELECT d.tenant_id, (SELECT b.seq FROM base b WHERE b.tenant_id = d.tenant_id)
               + row_number() OVER (PARTITION BY d.tenant_id ORDER BY d.run_id, d.ordinal, d.batch),
               p_now, 'step.cancelled', d.run_id, d.ordinal, d.batch
          FROM done d
    ), counted AS (
        UPDATE map_state m SET
            in_flight = m.in_flight - g.batches,
            source = CASE WHEN g.source > 0 THEN 'done' ELSE m.source END
          FROM (SELECT run_id, ordinal, (count(*) FILTER (WHERE batch > 0))::int AS batches,
                       count(*) FILTER (WHERE batch = -3) AS source
                  FROM done GROUP BY run_id, ordinal) g
         CROSS JOIN LATERAL (
             SELECT o.ctid AS tid FROM map_state o WHERE o.run_id = g.run_id AND o.ordinal = g.ordinal OFFSET 0) o
         WHERE m.ctid = o.tid
    )
    UPDATE tenant_load l SET seq = l.seq + g.n, ready_count = l.ready_count - g.ready
      FROM (SELECT tenant_id, count(*) AS n, count(*) FILTER (WHERE claimable) AS ready FROM done GROUP BY tenant_id) g
     CROSS JOIN LATERAL (SELECT o.ctid AS tid FROM tenant_load o WHERE o.tenant_id = g.tenant_id OFFSET 0) o
     WHERE l.ctid = o.tid;
END
$$;
