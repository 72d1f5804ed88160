-- Purpose: a tenant's schedules that are to be looked at, with what their runs would need.
-- Index:   schedule_due_of_tenant; workflow_version_number.
SELECT s.id, s.name, s.revision, s.cron, s.zone, s.interval, s.anchor_at, s.input, s.labels, s.priority,
       s.overlap, s.overlap_limit, s.missed, s.missed_limit, s.jitter, s.next_at, v.id, clock_timestamp(),
       CASE WHEN t.suspended_at IS NOT NULL THEN 'tenant_suspended'
            WHEN w.archived_at IS NOT NULL THEN 'workflow_archived'
            WHEN w.paused_at IS NOT NULL THEN 'workflow_paused' END, t.slug
  FROM schedule s
  JOIN tenant t ON t.id = s.tenant_id
  JOIN workflow w ON w.id = s.workflow_id
  JOIN workflow_version v ON v.workflow_id = w.id AND v.version = w.newest
 WHERE s.tenant_id = %(tenant_id)s AND s.look_at <= clock_timestamp()
 ORDER BY s.look_at LIMIT %(limit)s
