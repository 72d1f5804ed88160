-- Purpose: runs as they are shown; the caller adds what narrows them, their order and their number.
-- Indexes: run's key, run_newest, run_workflow_newest, run_state_newest, run_labels; step_run's key.
-- Steps are counted only for runs that have not ended: ended ones have all they need in their row.
SELECT r.id, w.name, v.version, r.version_id, r.state, {payloads}, r.error, r.labels::text, r.priority,
       r.step_count, r.open_count, r.succeeded_count, r.failed_count, r.skipped_count, r.cancelled_count,
       coalesce(c.ready, 0), coalesce(c.running, 0), coalesce(c.waiting, 0),
       r.created_at, r.started_at, r.finished_at, r.deadline_at, r.closing,
       r.undo_state, r.undo_error, r.undo_finished_at
  FROM run r
  JOIN workflow w ON w.id = r.workflow_id
  JOIN workflow_version v ON v.id = r.version_id
  LEFT JOIN LATERAL (
      SELECT count(*) FILTER (WHERE s.state = 'ready') AS ready,
             count(*) FILTER (WHERE s.state = 'running' OR s.wait_reason = 'map') AS running,
             count(*) FILTER (WHERE s.state = 'waiting' AND s.wait_reason IS DISTINCT FROM 'map') AS waiting
        FROM step_run s
       WHERE r.finished_at IS NULL AND s.tenant_id = r.tenant_id AND s.run_id = r.id AND s.batch = 0
         AND s.state IN ('ready', 'running', 'waiting')) c ON true
 WHERE r.tenant_id = %(tenant_id)s
