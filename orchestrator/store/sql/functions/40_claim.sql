-- Purpose: take the steps that this worker may run now, within every limit, fairly among tenants;
--          and what needs Python first (conditions, outputs of runs), which takes no connection.
-- Indexes: step_run_ready (heads of a tenant's queue), step_run_lost, control's key, tenant_load.
-- Pools:   steps that name one stand in lanes of their own, see 14_pools.sql.
-- Guard:   candidates are chosen without locks, locked by id, and looked at again under the lock;
--          pools are locked then, by id, and the server's total last.  Commits without waiting for the disk: a claim that is
--          lost in a crash was never there.
-- Fairness: start-time fair queuing on worker-seconds.  A tenant's start tag is the later of its
--          vtime and the server's clock; each step is charged its handler's mean cost over the
--          tenant's weight; steps go out in the order of their virtual finish.  The clock does not
--          pass a tenant that was skipped only because its row was locked: it keeps its lag.
-- Source:  Goyal, Vin, Cheng, "Start-time Fair Queuing", SIGCOMM 1996.
CREATE OR REPLACE FUNCTION engine_claim(
    p_worker int, p_queues text[], p_handlers int[], p_costs double precision[],
    p_want int, p_want_cpu int, p_alone boolean, p_bytes bigint
) RETURNS TABLE (
    kind text, tenant_id int, run_id uuid, ordinal int, batch int, version_id bigint, epoch int,
    attempts int, losses smallint, suspect boolean, args text, closing text, labels text,
    input text, refs int[], states text[], outputs text[], lazy boolean, repeats int, trace text
) LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
#variable_conflict use_column
DECLARE
    v_now timestamptz;
    v_clock double precision;
    v_passed double precision;
    v_limit int;
    v_room bigint;
    v_candidates int[];
    v_lost int[];
    v_locked int[];
    v_controls bigint;
    v_pauses boolean;
    v_over boolean;
    v_rounds int := 0;
    v_parks int := 0;
    c_tids tid[];
    c_runs uuid[];
    c_costs double precision[];
    c_starts double precision[];
    c_limited boolean[];
    c_over boolean[];
    c_pools int[];
    v_pools boolean := EXISTS (SELECT 1 FROM pool);
    v_open int[];
    h_tenants int[];
    h_rooms int[];
    h_starts double precision[];
    h_weights double precision[];
    h_tids tid[];
    h_runs uuid[];
    h_ordinals int[];
    h_batches int[];
    h_queues text[];
    h_ranks bigint[];
    h_limited boolean[];
    h_handlers int[];
    h_pools int[];
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);
    SELECT vclock INTO v_clock FROM server_load WHERE slot = -1;

    SELECT array_agg(c.tenant_id) INTO v_candidates FROM (
        SELECT o.tenant_id FROM (
            SELECT l.tenant_id, l.control_count, l.ready_count > 0 AND l.in_use < q.max_connections AS room
              FROM tenant_load l
              JOIN quota q ON q.tenant_id = l.tenant_id
              JOIN tenant t ON t.id = l.tenant_id AND t.suspended_at IS NULL
             WHERE l.control_count > 0 OR (l.ready_count > 0 AND l.in_use < q.max_connections)
             ORDER BY greatest(l.vtime, v_clock), l.vtime
            OFFSET 0) o
         WHERE o.control_count > 0
            OR o.room AND (p_want > 0 OR p_want_cpu > 0) AND (
                -- a scalar, not EXISTS: that would be hashed, reading every tenant's ready rows
                coalesce((SELECT true FROM step_run s
                 WHERE s.tenant_id = o.tenant_id AND s.queue = ANY (p_queues)
                   AND s.state = 'ready' AND s.parked IS NULL AND s.handler_id = ANY (p_handlers)
                   AND NOT s.suspect AND s.pool = ''
                 LIMIT 1), v_pools AND engine_pool_ready(o.tenant_id, p_queues, p_handlers, false)))
         LIMIT least(64, greatest(p_want + p_want_cpu, 1))) c;
    IF p_alone THEN
        -- what was lost before comes first, however much else waits
        SELECT array_agg(c.tenant_id) INTO v_lost FROM (
            SELECT l.tenant_id
              FROM (SELECT DISTINCT s.tenant_id FROM step_run s
                     WHERE s.state = 'ready' AND s.suspect AND s.parked IS NULL
                       AND s.queue = ANY (p_queues) AND s.handler_id = ANY (p_handlers)) s
              JOIN tenant_load l ON l.tenant_id = s.tenant_id
              JOIN quota q ON q.tenant_id = l.tenant_id AND q.max_connections > l.in_use
              JOIN tenant t ON t.id = l.tenant_id AND t.suspended_at IS NULL
             ORDER BY greatest(l.vtime, v_clock), l.vtime LIMIT 16) c;
        v_candidates := v_lost || v_candidates;
    END IF;
    IF v_candidates IS NULL THEN
        RETURN QUERY SELECT * FROM engine_claim_later(p_queues, p_handlers) WHERE v_pools AND p_want > 0;
        RETURN;
    END IF;

    SELECT array_agg(k.tenant_id) INTO v_locked FROM (
        SELECT l.tenant_id FROM tenant_load l WHERE l.tenant_id = ANY (v_candidates)
         ORDER BY l.tenant_id FOR NO KEY UPDATE SKIP LOCKED) k;
    IF v_locked IS NULL THEN
        -- all are busy: wait for the one that comes first (holding nothing else, so without deadlock)
        SELECT array_agg(k.tenant_id) INTO v_locked FROM (
            SELECT l.tenant_id FROM tenant_load l WHERE l.tenant_id = v_candidates[1] FOR NO KEY UPDATE) k;
    END IF;
    IF cardinality(v_locked) < cardinality(v_candidates) THEN
        SELECT min(l.vtime) INTO v_passed FROM tenant_load l JOIN quota q ON q.tenant_id = l.tenant_id
         WHERE l.tenant_id = ANY (v_candidates) AND l.tenant_id <> ALL (v_locked)
           AND l.ready_count > 0 AND l.in_use < q.max_connections;
    END IF;
    v_now := clock_timestamp();

    UPDATE tenant_load l SET hint_queues = '{}', hinted_at = NULL
     WHERE l.tenant_id = ANY (v_locked) AND l.hinted_at IS NOT NULL AND l.hint_queues <@ p_queues;

    SELECT sum(l.control_count), bool_or(l.paused_count > 0) INTO v_controls, v_pauses FROM tenant_load l WHERE l.tenant_id = ANY (v_locked);
    IF v_controls > 0 THEN
        RETURN QUERY
        WITH taken AS (
            UPDATE control c SET taken_at = v_now, epoch = c.epoch + 1, held = o.pause
              FROM (SELECT o.ctid AS tid, v_pauses AND o.ordinal >= 0 AND coalesce(engine_paused(o.run_id), false) AS pause
                      FROM control o
                     WHERE o.tenant_id = ANY (v_locked) AND NOT o.held
                       AND (o.taken_at IS NULL OR o.taken_at < v_now - interval '1 second')
                     LIMIT 256) o
             WHERE c.ctid = o.tid
            RETURNING c.kind, c.tenant_id, c.run_id, c.ordinal, c.batch, c.epoch, c.held
        ), kept AS (
            UPDATE tenant_load l SET control_count = l.control_count - g.n
              FROM (SELECT t.tenant_id, count(*) AS n FROM taken t WHERE t.held GROUP BY t.tenant_id) g
             CROSS JOIN LATERAL (SELECT o.ctid AS tid FROM tenant_load o WHERE o.tenant_id = g.tenant_id OFFSET 0) o
             WHERE l.ctid = o.tid
        )
        SELECT t.kind, t.tenant_id, t.run_id, t.ordinal, t.batch, r.version_id, t.epoch,
               0, 0::smallint, false, NULL::text, r.closing, r.labels::text,
               r.input, n.refs, n.states, n.outputs, false, 0, r.trace
          FROM taken t
          CROSS JOIN LATERAL (
              SELECT o.version_id, o.closing, o.labels, o.input, o.trace FROM run o WHERE o.id = t.run_id OFFSET 0) r
          CROSS JOIN LATERAL (
              SELECT o.output_needs FROM workflow_version o WHERE o.id = r.version_id OFFSET 0) w
          LEFT JOIN LATERAL (
              SELECT o.needs FROM version_step o
               WHERE o.version_id = r.version_id AND o.ordinal = t.ordinal OFFSET 0) v ON true
          LEFT JOIN LATERAL (
              SELECT array_agg(p.ordinal) AS refs, array_agg(p.state) AS states, array_agg(p.output) AS outputs
                FROM step_run p
               WHERE p.tenant_id = t.tenant_id AND p.run_id = t.run_id AND p.batch = 0
                 AND p.ordinal = ANY (coalesce(v.needs, w.output_needs))) n ON true
         WHERE NOT t.held;
    END IF;

    IF p_want <= 0 AND p_want_cpu <= 0 AND v_lost IS NULL THEN
        RETURN;
    END IF;
    IF v_pools THEN
        SELECT array_agg(DISTINCT l.pool_id) INTO v_open
          FROM engine_pool_lanes(v_locked, p_queues, p_alone) l WHERE l.room > 0;
        PERFORM engine_pool_lock(v_open);
    END IF;
    IF v_lost IS NOT NULL THEN
        -- one at a time, each in a process of its own
        SELECT array_agg(h.tid), array_agg(h.run_id),
               array_agg(coalesce(p_costs[array_position(p_handlers, h.handler_id)], 0.01)),
               array_agg(greatest(h.vtime, v_clock)), array_agg(h.limited), array_agg(h.pool_id)
          INTO c_tids, c_runs, c_costs, c_starts, c_limited, c_pools
          FROM (SELECT s.*, l.vtime
                  FROM tenant_load l
                  JOIN quota q ON q.tenant_id = l.tenant_id AND q.max_connections > l.in_use
                  CROSS JOIN LATERAL (
                      SELECT a.queue, '' AS pool, NULL::int AS pool_id FROM unnest(p_queues) AS a (queue)
                      UNION ALL
                      SELECT o.queue, o.pool, o.pool_id
                        FROM engine_pool_lanes(ARRAY[l.tenant_id], p_queues, true) o
                       WHERE v_open IS NOT NULL AND o.suspect AND o.room > 0 AND o.pool_id = ANY (v_open)) a
                  CROSS JOIN LATERAL (
                      SELECT s.ctid AS tid, s.run_id, s.rank, s.limited, s.handler_id, a.pool_id FROM step_run s
                       WHERE s.tenant_id = l.tenant_id AND s.queue = a.queue AND s.pool = a.pool
                         AND s.state = 'ready' AND s.parked IS NULL AND s.suspect
                         AND s.handler_id = ANY (p_handlers)
                       ORDER BY s.rank LIMIT 1) s
                 WHERE l.tenant_id = ANY (v_locked) AND l.tenant_id = ANY (v_lost)
                   AND (NOT s.limited OR (SELECT r.max_parallel > r.active_count FROM run r WHERE r.id = s.run_id))
                 ORDER BY greatest(l.vtime, v_clock), s.rank LIMIT 1) h;
        IF v_pauses AND c_tids IS NOT NULL AND engine_park_paused(c_tids) > 0 THEN
            -- of a paused run: look for another one
            RETURN QUERY SELECT * FROM engine_claim(p_worker, p_queues, p_handlers, p_costs, p_want, p_want_cpu, p_alone, p_bytes);
            RETURN;
        END IF;
    END IF;
    LOOP
        -- what was lost is claimed by itself; a process without room asks for nothing else
        EXIT WHEN c_runs IS NOT NULL AND v_over IS NULL OR p_want <= 0 AND p_want_cpu <= 0;
        IF v_open IS NOT NULL THEN
            SELECT array_agg(s.tenant_id), array_agg(s.room), array_agg(s.start), array_agg(s.weight), array_agg(s.tid),
                   array_agg(s.run_id), array_agg(s.ordinal), array_agg(s.batch), array_agg(s.queue), array_agg(s.rank),
                   array_agg(s.limited), array_agg(s.handler_id), array_agg(s.pool_id)
              INTO h_tenants, h_rooms, h_starts, h_weights, h_tids, h_runs, h_ordinals, h_batches, h_queues, h_ranks,
                   h_limited, h_handlers, h_pools
              FROM engine_pool_heads(v_locked, v_open, p_queues, p_handlers, p_want, p_want_cpu, v_clock) s;
        END IF;
        SELECT array_agg(h.tid), array_agg(h.run_id), array_agg(h.cost), array_agg(h.start),
               array_agg(h.limited), array_agg(h.pool_id), array_agg(h.over), bool_or(h.over)
          INTO c_tids, c_runs, c_costs, c_starts, c_limited, c_pools, c_over, v_over
          FROM (
            SELECT g.*, row_number() OVER (PARTITION BY g.queue = 'cpu' ORDER BY g.finish, g.rank) AS nr
              FROM (
                SELECT b.tid, b.run_id, b.queue, b.rank, b.cost, b.start, b.limited, b.pool_id,
                       b.start + sum(b.cost / b.weight) OVER (PARTITION BY b.tenant_id ORDER BY b.rank, b.run_id, b.ordinal, b.batch) AS finish,
                       row_number() OVER (PARTITION BY b.tenant_id ORDER BY b.rank, b.run_id, b.ordinal, b.batch) AS place,
                       b.room,
                       CASE WHEN b.limited THEN
                            row_number() OVER (PARTITION BY b.run_id ORDER BY b.rank, b.ordinal, b.batch)
                            > (SELECT r.max_parallel - r.active_count FROM run r WHERE r.id = b.run_id)
                       ELSE false END AS over
                  FROM (
                    SELECT l.tenant_id, q.max_connections - l.in_use AS room, greatest(l.vtime, v_clock) AS start,
                           q.weight, s.tid, s.run_id, s.ordinal, s.batch, a.queue, s.rank, s.limited,
                           NULL::int AS pool_id,
                           coalesce(p_costs[array_position(p_handlers, s.handler_id)], 0.01) AS cost
                      FROM tenant_load l
                      JOIN quota q ON q.tenant_id = l.tenant_id AND q.max_connections > l.in_use
                      CROSS JOIN unnest(p_queues) AS a (queue)
                      CROSS JOIN LATERAL (
                          SELECT s.ctid AS tid, s.run_id, s.ordinal, s.batch, s.rank, s.limited, s.handler_id
                            FROM step_run s
                           WHERE s.tenant_id = l.tenant_id AND s.queue = a.queue
                             AND s.state = 'ready' AND s.parked IS NULL AND NOT s.suspect AND s.pool = ''
                             AND s.handler_id = ANY (p_handlers)
                           ORDER BY s.rank
                           LIMIT least(q.max_connections - l.in_use,
                                       CASE WHEN a.queue = 'cpu' THEN p_want_cpu ELSE p_want END)) s
                     WHERE l.tenant_id = ANY (v_locked)
                    UNION ALL
                    SELECT s.tenant_id, s.room, s.start, s.weight, s.tid, s.run_id, s.ordinal, s.batch, s.queue,
                           s.rank, s.limited, s.pool_id,
                           coalesce(p_costs[array_position(p_handlers, s.handler_id)], 0.01)
                      FROM unnest(h_tenants, h_rooms, h_starts, h_weights, h_tids, h_runs, h_ordinals, h_batches,
                                  h_queues, h_ranks, h_limited, h_handlers, h_pools)
                           AS s (tenant_id, room, start, weight, tid, run_id, ordinal, batch, queue, rank, limited,
                                 handler_id, pool_id)
                     WHERE v_open IS NOT NULL) b) g
             WHERE g.place <= g.room OR g.over
             ORDER BY g.finish, g.rank) h
         WHERE h.over OR h.nr <= CASE WHEN h.queue = 'cpu' THEN p_want_cpu ELSE p_want END;

        IF v_pauses AND c_tids IS NOT NULL AND engine_park_paused(c_tids) > 0 THEN
            -- look again without them; so many at once that the rest waits for the next claim
            v_parks := v_parks + 1;
            IF v_parks >= 200 THEN
                RETURN;
            END IF;
            CONTINUE;
        END IF;
        EXIT WHEN NOT coalesce(v_over, false) OR v_rounds >= 50;
        v_rounds := v_rounds + 1;
        -- beyond their run's max_parallel: out of the queue until a place is free, then look again
        WITH parked AS (
            UPDATE step_run s SET parked = 'max_parallel'
              FROM unnest(c_tids, c_over) AS d (tid, over)
             WHERE d.over AND s.ctid = d.tid
            RETURNING s.tenant_id
        )
        UPDATE tenant_load l SET ready_count = l.ready_count - g.n
          FROM (SELECT tenant_id, count(*) AS n FROM parked GROUP BY tenant_id) g
         CROSS JOIN LATERAL (SELECT o.ctid AS tid FROM tenant_load o WHERE o.tenant_id = g.tenant_id OFFSET 0) o
         WHERE l.ctid = o.tid;
    END LOOP;

    IF v_over THEN
        -- so many that parking them is left to the next claims: they do not start for that
        SELECT array_agg(d.tid), array_agg(d.run_id), array_agg(d.cost), array_agg(d.start),
               array_agg(d.limited), array_agg(d.pool_id)
          INTO c_tids, c_runs, c_costs, c_starts, c_limited, c_pools
          FROM unnest(c_tids, c_runs, c_costs, c_starts, c_limited, c_pools, c_over)
               AS d (tid, run_id, cost, start, limited, pool_id, over)
         WHERE NOT d.over;
    END IF;

    IF c_runs IS NULL THEN
        RETURN QUERY SELECT * FROM engine_claim_later(p_queues, p_handlers) WHERE v_pools AND p_want > 0;
        RETURN;
    END IF;

    -- the total, last: claims alone take this lock, and commit at once
    SELECT t.max_connections - t.amount, t.vclock INTO v_room, v_clock
      FROM server_load t WHERE t.slot = -1 FOR NO KEY UPDATE;
    SELECT v_room + sum(t.amount) INTO v_room FROM server_load t WHERE t.slot >= 0;
    v_limit := least(v_room, cardinality(c_runs));
    IF v_limit <= 0 THEN
        RETURN;
    END IF;
    c_tids := c_tids[1:v_limit]; c_costs := c_costs[1:v_limit]; c_starts := c_starts[1:v_limit];
    c_pools := c_pools[1:v_limit];
    v_now := clock_timestamp();
    UPDATE server_load t SET amount = t.amount + v_limit,
           vclock = greatest(t.vclock, least(v_passed, (SELECT max(x) FROM unnest(c_starts) AS x)))
     WHERE t.slot = -1;

    IF v_open IS NOT NULL THEN
        PERFORM engine_pool_take(c_pools, v_now);
    END IF;
    IF true = ANY (c_limited) THEN
        UPDATE run r SET active_count = r.active_count + g.n
          FROM (SELECT d.run_id, count(*) AS n FROM unnest(c_runs[1:v_limit], c_limited[1:v_limit]) AS d (run_id, limited)
                 WHERE d.limited GROUP BY d.run_id) g
          CROSS JOIN LATERAL (SELECT o.ctid AS tid FROM run o WHERE o.id = g.run_id OFFSET 0) o
         WHERE r.ctid = o.tid;
    END IF;

    RETURN QUERY
    WITH base AS MATERIALIZED (
        SELECT l.tenant_id, l.seq FROM tenant_load l WHERE l.tenant_id = ANY (v_locked)
    ), mine AS (
        UPDATE step_run s SET state = 'running', epoch = s.epoch + 1, worker_id = p_worker, started_at = v_now,
               charged_s = d.cost, pool_id = d.pool_id
          FROM unnest(c_tids, c_costs, c_pools) AS d (tid, cost, pool_id)
         WHERE s.ctid = d.tid
        RETURNING s.*
    ), of AS MATERIALIZED (
        -- each run once: its row has as many versions as steps of it ended of late
        SELECT r.* FROM (SELECT DISTINCT m.run_id FROM mine m) d
         CROSS JOIN LATERAL (
             SELECT o.id, o.ctid AS tid, o.state, o.closing, o.labels::text AS labels, o.input, o.trace
               FROM run o WHERE o.id = d.run_id OFFSET 0) r
    ), begun AS (
        UPDATE run r SET state = 'running', started_at = v_now,
               expires_at = least(r.deadline_at, v_now + r.timeout_ms * interval '1 millisecond')
          FROM of WHERE of.state = 'queued' AND r.ctid = of.tid
        RETURNING r.tenant_id, r.id, coalesce(r.start_at, r.created_at) AS created_at
    ), said AS (
        SELECT b.tenant_id, 'run.running' AS type, b.id AS run_id, NULL::int AS ordinal, NULL::int AS batch,
               NULL::int AS attempt, NULL::int AS worker_id, extract(epoch FROM v_now - b.created_at) AS value_s,
               0 AS place, NULL::bigint AS rank, NULL::text AS data
          FROM begun b
        UNION ALL
        SELECT m.tenant_id, 'step.running', m.run_id, m.ordinal, m.batch, m.attempts + 1, p_worker,
               extract(epoch FROM v_now - m.ready_at), 1, m.rank,
               -- of a traced run the attempt's span (domain/traces.py); looked for only where there is such a run
               CASE WHEN (SELECT bool_or(x.trace IS NOT NULL) FROM of x) THEN
                    (SELECT json_build_object('span', left(md5(concat_ws(':', m.run_id, m.ordinal, m.batch, m.epoch)), 16))::text
                       FROM of x WHERE x.id = m.run_id AND x.trace IS NOT NULL) END
          FROM mine m
    ), told AS (
        INSERT INTO event (tenant_id, seq, at, type, run_id, ordinal, batch, attempt, worker_id, value_s, data)
        SELECT e.tenant_id,
               (SELECT b.seq FROM base b WHERE b.tenant_id = e.tenant_id)
               + row_number() OVER (PARTITION BY e.tenant_id ORDER BY e.place, e.rank, e.run_id, e.ordinal),
               v_now, e.type, e.run_id, e.ordinal, e.batch, e.attempt, e.worker_id, e.value_s, e.data
          FROM said e
    ), load AS (
        UPDATE tenant_load l SET
            seq = l.seq + g.n + (SELECT count(*) FROM begun b WHERE b.tenant_id = g.tenant_id),
            in_use = l.in_use + g.n, ready_count = l.ready_count - g.n,
            vtime = greatest(l.vtime, v_clock) + g.cost / q.weight
          FROM (SELECT tenant_id, count(*) AS n, sum(charged_s) AS cost FROM mine GROUP BY tenant_id) g
          CROSS JOIN LATERAL (SELECT o.weight FROM quota o WHERE o.tenant_id = g.tenant_id OFFSET 0) q
          CROSS JOIN LATERAL (SELECT o.ctid AS tid FROM tenant_load o WHERE o.tenant_id = g.tenant_id OFFSET 0) o
         WHERE l.ctid = o.tid
    ), laden AS (
        SELECT m.*, r.closing, r.labels, r.trace, CASE WHEN v.needs_input OR k.needs IS NOT NULL THEN r.input END AS input,
               n.refs, n.states, n.outputs,
               sum(coalesce(CASE WHEN v.needs_input OR k.needs IS NOT NULL THEN octet_length(r.input) END, 0) + coalesce(n.bytes, 0))
                   OVER (ORDER BY m.rank, m.run_id, m.ordinal, m.batch) AS bytes
          FROM mine m
          JOIN of r ON r.id = m.run_id
          CROSS JOIN LATERAL (
              -- a map's batch comes with its items: `over` is not asked again
              SELECT CASE WHEN m.batch > 0 THEN o.batch_needs ELSE o.needs END AS needs,
                     CASE WHEN m.batch > 0 THEN o.batch_needs_input ELSE o.needs_input END AS needs_input
                FROM version_step o
               WHERE o.version_id = m.version_id AND o.ordinal = m.ordinal OFFSET 0) v
          LEFT JOIN LATERAL (
              -- a compensation (-1) or undo (-2) needs its own step besides: of a compensation its
              -- error and attempt, of an undo its output and state
              SELECT o.needs FROM version_call o
               WHERE m.batch IN (-1, -2) AND o.version_id = m.version_id AND o.ordinal = m.ordinal AND o.batch = m.batch
              OFFSET 0) k ON true
          LEFT JOIN LATERAL (
              SELECT array_agg(p.ordinal) AS refs,
                     array_agg(CASE WHEN m.batch = -1 AND p.ordinal = m.ordinal THEN p.attempts::text ELSE p.state END) AS states,
                     array_agg(CASE WHEN m.batch = -1 AND p.ordinal = m.ordinal THEN p.error ELSE p.output END) AS outputs,
                     sum(octet_length(p.output)) AS bytes
                FROM step_run p
               WHERE coalesce(k.needs, v.needs) <> '{}' AND p.tenant_id = m.tenant_id AND p.run_id = m.run_id AND p.batch = 0
                 AND p.ordinal = ANY (coalesce(k.needs, v.needs))) n ON true
    )
    SELECT 'step', d.tenant_id, d.run_id, d.ordinal, d.batch, d.version_id, d.epoch, d.attempts, d.losses,
           d.suspect, d.args, d.closing, d.labels,
           CASE WHEN d.bytes <= p_bytes THEN d.input END,
           CASE WHEN d.bytes <= p_bytes THEN d.refs END,
           CASE WHEN d.bytes <= p_bytes THEN d.states END,
           CASE WHEN d.bytes <= p_bytes THEN d.outputs END,
           d.bytes > p_bytes, d.repeats, d.trace
      FROM laden d;
END
$$;
