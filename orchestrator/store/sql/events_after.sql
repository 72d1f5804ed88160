-- Purpose: a tenant's events behind a position, in the order of commits; the caller adds what narrows
--          them (`{conditions}`).
-- Indexes: event_position, or event_run where one run is asked for; keys of run and workflow.
-- Returns: the tenant's last position, then an event, each row; one row without an event where there is
--          none.  Both are of one snapshot, and positions are given out in the order of commits: what
--          is not in the answer below that position will never be there.
-- Bound:   a window of positions is looked at, or `limit` events of a run.
SELECT l.seq, e.seq, {at}, e.type, {run_id}, e.ordinal, e.batch, e.attempt, e.actor, e.data,
       r.version_id, w.name
  FROM (SELECT coalesce((SELECT o.seq FROM tenant_load o WHERE o.tenant_id = %(tenant_id)s), 0) AS seq) l
  LEFT JOIN LATERAL (
      SELECT v.seq, v.at, v.type, v.run_id, v.ordinal, v.batch, v.attempt, v.actor, v.data
        FROM event v
       WHERE v.tenant_id = %(tenant_id)s AND v.seq > %(after)s AND v.batch IS DISTINCT FROM %(source)s{conditions}
       ORDER BY v.seq LIMIT %(limit)s) e ON true
  LEFT JOIN run r ON r.tenant_id = %(tenant_id)s AND r.id = e.run_id
  LEFT JOIN workflow w ON w.tenant_id = %(tenant_id)s AND w.id = r.workflow_id
 ORDER BY e.seq
