-- Purpose: how many of the awaited runs are late, by rule (at most 10,000 are counted), the ten that are
--          late for longest, and for how long the first one is.
-- Index:   sla_deadline_due.
SELECT d.sla_id, n.n, s.ids, s.oldest_s
  FROM unnest(%(slas)s::bigint[]) AS d (sla_id)
 CROSS JOIN LATERAL (
       SELECT array_agg(f.run_id ORDER BY f.due_at) AS ids,
              extract(epoch FROM clock_timestamp() - min(f.due_at))::float8 AS oldest_s
         FROM (SELECT p.run_id, p.due_at FROM sla_deadline p
                WHERE p.sla_id = d.sla_id AND p.due_at <= statement_timestamp()
                ORDER BY p.due_at LIMIT 10) f) s
 CROSS JOIN LATERAL (
       SELECT count(*)::int AS n
         FROM (SELECT 1 FROM sla_deadline p
                WHERE p.sla_id = d.sla_id AND p.due_at <= statement_timestamp() LIMIT 10000) f) n
 WHERE s.ids IS NOT NULL
