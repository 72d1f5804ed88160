-- Purpose: since when the foremost ready step of each tenant waits, and whether its tenant has room.
-- Index:   step_run_ready: one row for each tenant and queue; tenants without ready work cost nothing.
-- Canary:  the server's own tenant is left out: its runs have a check of their own.
-- Pools:   steps that name one are left out: a full pool is no fault of the workers.
-- Guard:   none, a look without locks; at most 1,000 tenants, those with most to do.
-- Returns: tenant, ready steps, whether it could start one, seconds that the foremost one waits.
SELECT l.tenant_id, l.ready_count, l.in_use < q.max_connections AND t.suspended_at IS NULL,
       coalesce(extract(epoch FROM clock_timestamp() - min(h.ready_at)), 0)::float8
  FROM (SELECT * FROM tenant_load WHERE ready_count > 0 ORDER BY ready_count DESC LIMIT 1000) l
  JOIN quota q ON q.tenant_id = l.tenant_id
  JOIN tenant t ON t.id = l.tenant_id AND NOT t.is_system
 CROSS JOIN (SELECT 'io' AS queue UNION SELECT 'cpu'
             UNION SELECT unnest(w.queues) FROM worker w WHERE w.state <> 'gone') a
 CROSS JOIN LATERAL (
       SELECT s.ready_at FROM step_run s
        WHERE s.tenant_id = l.tenant_id AND s.queue = a.queue AND s.state = 'ready' AND s.parked IS NULL
          AND NOT s.suspect AND s.pool = ''
        ORDER BY s.rank LIMIT 1) h
 GROUP BY l.tenant_id, l.ready_count, l.in_use, q.max_connections, t.suspended_at
