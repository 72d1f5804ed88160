-- Purpose: failed maps that a compensation has tried again: what succeeded stays, what failed or was
--          cancelled starts again as the window allows, and a source reads on behind its cursor.
-- Guard:   under the tenants' mutexes; nothing of these maps is in flight, their own rows (batch 0) are
--          `waiting` with the reason map.
-- Batches that are to be tried are those whose rows have kept their items (`args`); they keep their
-- attempts, so that each has what its policy leaves, and one at least.
CREATE OR REPLACE FUNCTION engine_map_again(
    p_tenants int[], p_runs uuid[], p_ordinals int[], p_now timestamptz
) RETURNS void LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
BEGIN
    WITH base AS MATERIALIZED (
        SELECT l.tenant_id, l.seq FROM tenant_load l WHERE l.tenant_id = ANY (p_tenants)
    ), map AS MATERIALIZED (
        SELECT m.* FROM unnest(p_tenants, p_runs, p_ordinals) AS d (tenant_id, run_id, ordinal)
         CROSS JOIN LATERAL (
             SELECT o.*, o.ctid AS tid FROM map_state o
              WHERE o.run_id = d.run_id AND o.ordinal = d.ordinal AND (o.tenant_id = d.tenant_id) IS TRUE OFFSET 0) m
    ), left_over AS (
        SELECT m.tid, m.run_id, m.ordinal, x.again, x.done, x.failed
          FROM map m
         CROSS JOIN LATERAL (
             SELECT (count(*) FILTER (WHERE o.args IS NOT NULL))::int AS again,
                    coalesce(sum(i.items) FILTER (WHERE o.args IS NULL), 0)::int AS done,
                    coalesce(sum(CASE WHEN o.state = 'succeeded' THEN (o.error::json ->> 'failed')::int ELSE i.items END)
                             FILTER (WHERE o.args IS NULL), 0)::int AS failed
               FROM step_run o
              CROSS JOIN LATERAL (SELECT least(m.batch_size, m.total - (o.batch - 1) * m.batch_size) AS items) i
              WHERE o.tenant_id = m.tenant_id AND o.run_id = m.run_id AND o.ordinal = m.ordinal AND o.batch > 0) x
    ), reads AS (
        -- the source, unless it had come to its end
        UPDATE step_run s SET
            state = 'ready', parked = NULL, worker_id = NULL, finished_at = NULL, due_at = NULL, wait_reason = NULL,
            error = NULL, ready_at = p_now, rank = engine_micros(p_now) - s.priority * 60000000::bigint,
            args = '{"total":' || m.total || ',"cursor":' || coalesce(m.cursor, 'null') || '}'
          FROM map m
         CROSS JOIN LATERAL (
             SELECT o.ctid AS tid FROM step_run o
              WHERE o.tenant_id = m.tenant_id AND o.run_id = m.run_id AND o.ordinal = m.ordinal AND o.batch = -3
                AND coalesce(o.state, '') IN ('failed', 'cancelled') OFFSET 0) o
         WHERE s.ctid = o.tid
        RETURNING s.tenant_id, s.run_id, s.ordinal, s.attempts
    ), opened AS (
        UPDATE map_state m SET
            again = x.again, again_after = 0, done = x.done, failed = x.failed, in_flight = 0,
            closing = NULL, error = NULL, errors = NULL, finished_at = NULL,
            source = CASE WHEN EXISTS (SELECT 1 FROM reads r WHERE r.run_id = x.run_id AND r.ordinal = x.ordinal)
                          THEN 'active' ELSE m.source END
          FROM left_over x
         WHERE m.ctid = x.tid
    ), told AS (
        INSERT INTO event (tenant_id, seq, at, type, run_id, ordinal, batch, attempt)
        SELECT r.tenant_id, (SELECT b.seq FROM base b WHERE b.tenant_id = r.tenant_id)
               + row_number() OVER (PARTITION BY r.tenant_id ORDER BY r.run_id, r.ordinal),
               p_now, 'step.ready', r.run_id, r.ordinal, -3, r.attempts + 1
          FROM reads r
    )
    UPDATE tenant_load l SET seq = l.seq + g.n, ready_count = l.ready_count + g.n
      FROM (SELECT tenant_id, count(*) AS n FROM reads GROUP BY tenant_id) g
     CROSS JOIN LATERAL (SELECT o.ctid AS tid FROM tenant_load o WHERE o.tenant_id = g.tenant_id OFFSET 0) o
     WHERE l.ctid = o.tid;

    PERFORM engine_map_go(p_tenants, p_runs, p_ordinals, p_now);
END
$$;

-- Purpose: start batches again that are to be tried, before new ones, as far as there is room.
-- Guard:   as engine_map_fill.  Returns: the room that is left of each.
CREATE OR REPLACE FUNCTION engine_map_redo(
    p_tenants int[], p_runs uuid[], p_ordinals int[], p_rooms int[], p_now timestamptz
) RETURNS int[] LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    v_us bigint := engine_micros(p_now);
    v_count int;
BEGIN
    FOR i IN 1 .. cardinality(p_runs) LOOP
        CONTINUE WHEN p_rooms[i] <= 0;
        WITH chosen AS MATERIALIZED (
            SELECT s.* FROM map_state m
             CROSS JOIN LATERAL (
                 SELECT o.ctid AS tid, o.batch FROM step_run o
                  WHERE m.again > 0 AND o.tenant_id = p_tenants[i] AND o.run_id = p_runs[i] AND o.ordinal = p_ordinals[i]
                    AND o.batch > m.again_after AND o.batch > 0 AND o.args IS NOT NULL AND o.finished_at IS NOT NULL
                  ORDER BY o.batch LIMIT p_rooms[i]) s
             WHERE m.run_id = p_runs[i] AND m.ordinal = p_ordinals[i]
        ), made AS (
            UPDATE step_run s SET
                state = 'ready', parked = NULL, worker_id = NULL, started_at = NULL, finished_at = NULL, due_at = NULL,
                wait_reason = NULL, reason = NULL, handled = false, charged_s = 0, output = NULL, error = NULL,
                ready_at = p_now, rank = v_us - s.priority * 60000000::bigint
              FROM chosen c
             WHERE s.ctid = c.tid
            RETURNING s.batch, s.attempts
        ), told AS (
            INSERT INTO event (tenant_id, seq, at, type, run_id, ordinal, batch, attempt)
            SELECT p_tenants[i], l.seq + row_number() OVER (ORDER BY d.batch),
                   p_now, 'step.ready', p_runs[i], p_ordinals[i], d.batch, d.attempts + 1
              FROM made d, tenant_load l WHERE l.tenant_id = p_tenants[i]
        ), moved AS (
            UPDATE map_state m SET
                again = m.again - g.n, again_after = g.last, in_flight = m.in_flight + g.n
              FROM (SELECT count(*)::int AS n, max(batch) AS last FROM made) g
             WHERE m.run_id = p_runs[i] AND m.ordinal = p_ordinals[i] AND g.n > 0
        ), load AS (
            UPDATE tenant_load l SET seq = l.seq + g.n, ready_count = l.ready_count + g.n
              FROM (SELECT count(*) AS n FROM made) g
             WHERE l.tenant_id = p_tenants[i]
        )
        SELECT count(*) INTO v_count FROM made;
        p_rooms[i] := p_rooms[i] - v_count;
    END LOOP;
    RETURN p_rooms;
END
$$;

-- Purpose: drop the items that failed maps have kept: they are not tried again.
-- Guard:   under the tenants' mutexes; steps that are no maps are passed over.
CREATE OR REPLACE FUNCTION engine_map_drop(p_tenants int[], p_runs uuid[], p_ordinals int[]) RETURNS void LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
BEGIN
    DELETE FROM map_pack p USING unnest(p_runs, p_ordinals) AS d (run_id, ordinal)
     CROSS JOIN LATERAL (
         SELECT o.ctid AS tid FROM map_pack o WHERE o.run_id = d.run_id AND o.ordinal = d.ordinal OFFSET 0) o
     WHERE p.ctid = o.tid;
    UPDATE step_run s SET args = NULL
      FROM unnest(p_tenants, p_runs, p_ordinals) AS d (tenant_id, run_id, ordinal)
     CROSS JOIN LATERAL (
         SELECT o.ctid AS tid FROM step_run o
          WHERE o.tenant_id = d.tenant_id AND o.run_id = d.run_id AND o.ordinal = d.ordinal AND o.batch > 0
            AND o.args IS NOT NULL OFFSET 0) o
     WHERE s.ctid = o.tid;
END
$$;
