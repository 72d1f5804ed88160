-- Purpose: who waits for a lock, how long, and who holds it.
-- Guard:   none, a look; at most 20, those that wait longest.
-- Returns: waiting process and program, seconds it waits, what it wants to do; the holder's process, program,
--          state, seconds since its transaction began, last statement.
SELECT a.pid, coalesce(nullif(a.application_name, ''), a.usename::text, '?'),
       coalesce(extract(epoch FROM clock_timestamp() - coalesce(l.since, a.query_start)), 0)::float8 AS waits_s,
       left(coalesce(a.query, ''), 200),
       b.pid, coalesce(nullif(b.application_name, ''), b.usename::text, '?'), coalesce(b.state, '?'),
       coalesce(extract(epoch FROM clock_timestamp() - b.xact_start), 0)::float8, left(coalesce(b.query, ''), 200)
  FROM pg_stat_activity a
 CROSS JOIN LATERAL (SELECT (pg_blocking_pids(a.pid))[1] AS pid) h
  JOIN pg_stat_activity b ON b.pid = h.pid
  LEFT JOIN LATERAL (SELECT min(k.waitstart) AS since FROM pg_locks k WHERE k.pid = a.pid AND NOT k.granted) l ON true
 WHERE a.datname = current_database() AND a.wait_event_type = 'Lock'
 ORDER BY waits_s DESC LIMIT 20
