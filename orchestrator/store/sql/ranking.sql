-- Purpose: a tenant's workflows that stand out in a stretch of time: most runs, most failures, most
--          seconds held a run.
-- Index:   workflow's names of the tenant; rollup's key, one range per workflow.
-- Input:   tenant, width of the buckets, since, until, how many of each rank, of the last one `held`.
-- Returns: name, whether it is among the busiest, whether it is among those that fail most.
WITH sums AS (
    SELECT w.name, s.*
      FROM workflow w
     CROSS JOIN LATERAL (
           SELECT sum(r.runs_succeeded + r.runs_failed + r.runs_cancelled) AS ended,
                  sum(r.runs_failed) AS failed, sum(r.worker_s) AS held_s
             FROM rollup r
            WHERE r.tenant_id = %(tenant)s::int AND r.workflow_id = w.id
              AND r.width_s = %(width)s::int
              AND r.at >= %(since)s::timestamptz AND r.at < %(until)s::timestamptz) s
     WHERE w.tenant_id = %(tenant)s::int AND s.ended > 0
), ranked AS (
    SELECT name, failed,
           row_number() OVER (ORDER BY ended DESC, name) AS by_ended,
           row_number() OVER (ORDER BY failed DESC, failed / ended DESC, name) AS by_failed,
           row_number() OVER (ORDER BY held_s / ended DESC, name) AS by_held
      FROM sums
)
SELECT name, by_ended <= %(most)s::int, failed > 0 AND by_failed <= %(most)s::int
  FROM ranked
 WHERE by_ended <= %(held)s::int OR by_held <= %(held)s::int
    OR (failed > 0 AND by_failed <= %(most)s::int)
