-- Purpose: what each tenant that does anything holds and wants now (but for the server's own), beside the server's total.
-- Index:   keys of tenant_load, quota and storage: one row per tenant.
SELECT l.tenant_id, q.weight, q.max_connections, l.in_use, l.ready_count, l.active_runs,
       coalesce(s.bytes, 0), (SELECT max_connections FROM server_load WHERE slot = -1),
       t.suspended_at IS NOT NULL
  FROM tenant_load l
  JOIN quota q ON q.tenant_id = l.tenant_id
  JOIN tenant t ON t.id = l.tenant_id AND NOT t.is_system
  LEFT JOIN storage s ON s.tenant_id = l.tenant_id
 WHERE l.in_use > 0 OR l.ready_count > 0 OR l.active_runs > 0
