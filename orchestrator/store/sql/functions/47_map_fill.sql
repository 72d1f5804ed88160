-- Purpose: start the next batches of maps, so many of each as there is room in its window, and let a
--          source read on that has fewer whole batches stored than one window.
-- Guard:   under the tenants' mutexes; rooms were reckoned under them.
-- A batch's items move into its row (`args`), so that a claim reads no other table; a pack goes when
-- its last batch starts.
CREATE OR REPLACE FUNCTION engine_map_fill(
    p_tenants int[], p_runs uuid[], p_ordinals int[], p_rooms int[], p_now timestamptz
) RETURNS void LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    v_us bigint := engine_micros(p_now);
BEGIN
    IF 0 < ANY (p_rooms) THEN
        WITH base AS MATERIALIZED (
            SELECT l.tenant_id, l.seq FROM tenant_load l WHERE l.tenant_id = ANY (p_tenants)
        ), open AS MATERIALIZED (
            SELECT d.*, m.tid, m.started, m.epoch
              FROM unnest(p_tenants, p_runs, p_ordinals, p_rooms) AS d (tenant_id, run_id, ordinal, room)
             CROSS JOIN LATERAL (
                 SELECT o.ctid AS tid, o.started, o.epoch FROM map_state o
                  WHERE o.run_id = d.run_id AND o.ordinal = d.ordinal OFFSET 0) m
             WHERE d.room > 0
        ), pack AS MATERIALIZED (
            SELECT o.*, p.tid AS pack_tid, p.batch AS first, p.count, p.batches FROM open o
             CROSS JOIN LATERAL (
                 SELECT x.ctid AS tid, x.batch, x.count, x.batches FROM map_pack x
                  WHERE x.run_id = o.run_id AND x.ordinal = o.ordinal AND x.batch <= o.started + o.room OFFSET 0) p
        ), made AS (
            INSERT INTO step_run (tenant_id, run_id, ordinal, batch, version_id, handler_id, queue, pool, rule, state,
                                  limited, rank, priority, ready_at, epoch, args)
            SELECT p.tenant_id, p.run_id, p.ordinal, p.first + e.nr - 1, s.version_id, s.handler_id, s.queue, s.pool, s.rule,
                   'ready', s.limited, v_us - s.priority * 60000000::bigint + p.first + e.nr - 1 - p.started,
                   s.priority, p_now, p.epoch, '{"items":' || e.value::text || '}'
              FROM pack p
             CROSS JOIN LATERAL (
                 SELECT o.version_id, o.handler_id, o.queue, o.pool, o.rule, o.limited, o.priority FROM step_run o
                  WHERE o.tenant_id = p.tenant_id AND o.run_id = p.run_id AND o.ordinal = p.ordinal AND o.batch = 0
                 OFFSET 0) s
             CROSS JOIN LATERAL json_array_elements(p.batches::json) WITH ORDINALITY AS e (value, nr)
             WHERE p.first + e.nr - 1 BETWEEN p.started + 1 AND p.started + p.room
            RETURNING tenant_id, run_id, ordinal, batch
        ), spent AS (
            DELETE FROM map_pack x USING pack p
             WHERE x.ctid = p.pack_tid AND p.first + p.count - 1 <= p.started + p.room
        ), moved AS (
            UPDATE map_state m SET started = m.started + o.room, in_flight = m.in_flight + o.room
              FROM open o WHERE m.ctid = o.tid
        ), told AS (
            INSERT INTO event (tenant_id, seq, at, type, run_id, ordinal, batch)
            SELECT d.tenant_id, (SELECT b.seq FROM base b WHERE b.tenant_id = d.tenant_id)
                   + row_number() OVER (PARTITION BY d.tenant_id ORDER BY d.run_id, d.ordinal, d.batch),
                   p_now, 'step.ready', d.run_id, d.ordinal, d.batch
              FROM made d
        )
        UPDATE tenant_load l SET seq = l.seq + g.n, ready_count = l.ready_count + g.n
          FROM (SELECT tenant_id, count(*) AS n FROM made GROUP BY tenant_id) g
         CROSS JOIN LATERAL (SELECT o.ctid AS tid FROM tenant_load o WHERE o.tenant_id = g.tenant_id OFFSET 0) o
         WHERE l.ctid = o.tid;
    END IF;

    WITH base AS MATERIALIZED (
        SELECT l.tenant_id, l.seq FROM tenant_load l WHERE l.tenant_id = ANY (p_tenants)
    ), short AS MATERIALIZED (
        SELECT d.tenant_id, d.run_id, d.ordinal, m.tid, m.total, m.cursor
          FROM unnest(p_tenants, p_runs, p_ordinals) AS d (tenant_id, run_id, ordinal)
         CROSS JOIN LATERAL (
             SELECT o.ctid AS tid, o.total, o.cursor FROM map_state o
              WHERE o.run_id = d.run_id AND o.ordinal = d.ordinal AND coalesce(o.source, '') = 'idle'
                AND o.total / o.batch_size - o.started < o.max_in_flight OFFSET 0) m
    ), woken AS (
        UPDATE step_run s SET
            state = 'ready', wait_reason = NULL, worker_id = NULL, ready_at = p_now,
            rank = v_us - s.priority * 60000000::bigint,
            args = '{"total":' || t.total || ',"cursor":' || coalesce(t.cursor, 'null') || '}'
          FROM short t
         CROSS JOIN LATERAL (
             SELECT o.ctid AS tid FROM step_run o
              WHERE o.tenant_id = t.tenant_id AND o.run_id = t.run_id AND o.ordinal = t.ordinal AND o.batch = -3
                AND coalesce(o.state, '') = 'waiting' OFFSET 0) o
         WHERE s.ctid = o.tid
        RETURNING s.tenant_id, s.run_id, s.ordinal
    ), moved AS (
        UPDATE map_state m SET source = 'active' FROM short t WHERE m.ctid = t.tid
    ), told AS (
        INSERT INTO event (tenant_id, seq, at, type, run_id, ordinal, batch)
        SELECT d.tenant_id, (SELECT b.seq FROM base b WHERE b.tenant_id = d.tenant_id)
               + row_number() OVER (PARTITION BY d.tenant_id ORDER BY d.run_id, d.ordinal),
               p_now, 'step.ready', d.run_id, d.ordinal, -3
          FROM woken d
    )
    UPDATE tenant_load l SET seq = l.seq + g.n, ready_count = l.ready_count + g.n
      FROM (SELECT tenant_id, count(*) AS n FROM woken GROUP BY tenant_id) g
     CROSS JOIN LATERAL (SELECT o.ctid AS tid FROM tenant_load o WHERE o.tenant_id = g.tenant_id OFFSET 0) o
     WHERE l.ctid = o.tid;
END
$$;
