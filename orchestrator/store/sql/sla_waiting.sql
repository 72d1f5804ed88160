-- Purpose: how many ready steps have waited longer than a rule allows, by rule; at most 1,000 are counted,
--          of the foremost 5,000 of each lane (queue and pool) and 20,000 in all: whatever the backlog is,
--          a look at it is short.  Steps that no worker can run were set aside: of a tenant's steps that
--          are set aside 20,000 are looked at.
-- Index:   step_run_ready, from one lane to the next; step_run_parked.  A step's rank is at most when it was
--          ready, so that of a lane only those are read that may have waited for so long.
SELECT r.id, least(s.n + a.n, 1000)
  FROM json_to_recordset(%(rules)s::json) AS r (
       id bigint, tenant_id int, workflow_ids bigint[], labels jsonb, seconds float8)
 CROSS JOIN LATERAL (SELECT statement_timestamp() - make_interval(secs => r.seconds) AS since) c
 CROSS JOIN LATERAL (
       SELECT count(*)::int AS n FROM (
           SELECT 1 FROM (
               WITH RECURSIVE lane AS (
                   (SELECT p.queue, p.suspect, p.pool FROM step_run p
                     WHERE p.tenant_id = r.tenant_id AND p.state = 'ready' AND p.parked IS NULL
                       AND EXISTS (SELECT 1 FROM tenant_load l WHERE l.tenant_id = r.tenant_id AND l.ready_count > 0)
                     ORDER BY p.queue, p.suspect, p.pool LIMIT 1)
                   UNION ALL
                   SELECT f.* FROM lane b CROSS JOIN LATERAL (
                       SELECT p.queue, p.suspect, p.pool FROM step_run p
                        WHERE p.tenant_id = r.tenant_id AND p.state = 'ready' AND p.parked IS NULL
                          AND (p.queue, p.suspect, p.pool) > (b.queue, b.suspect, b.pool)
                        ORDER BY p.queue, p.suspect, p.pool LIMIT 1) f
               )
               SELECT f.run_id, f.ready_at FROM lane b CROSS JOIN LATERAL (
                   SELECT p.run_id, p.ready_at FROM step_run p
                    WHERE p.tenant_id = r.tenant_id AND p.state = 'ready' AND p.parked IS NULL
                      AND p.queue = b.queue AND p.suspect = b.suspect AND p.pool = b.pool
                      AND p.rank <= engine_micros(c.since)
                    ORDER BY p.rank LIMIT 5000) f
                LIMIT 20000) w
             JOIN run o ON o.id = w.run_id
            WHERE w.ready_at < c.since
              AND (r.workflow_ids = '{}' OR o.workflow_id = ANY (r.workflow_ids))
              AND (r.labels = '{}'::jsonb OR o.labels @> r.labels)
            LIMIT 1000) f) s
 CROSS JOIN LATERAL (
       SELECT count(*)::int AS n FROM (
           SELECT 1 FROM (
               SELECT p.run_id, p.ready_at, p.parked FROM step_run p
                WHERE p.tenant_id = r.tenant_id AND p.state = 'ready' AND p.parked IS NOT NULL
                LIMIT 20000) w
             JOIN run o ON o.id = w.run_id
            WHERE w.parked = 'no_worker' AND w.ready_at < c.since
              AND (r.workflow_ids = '{}' OR o.workflow_id = ANY (r.workflow_ids))
              AND (r.labels = '{}'::jsonb OR o.labels @> r.labels)
            LIMIT 1000) f) a
 WHERE s.n + a.n > 0
