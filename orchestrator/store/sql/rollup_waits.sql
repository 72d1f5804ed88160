-- Purpose: add what steps waited for their tenants' connections to the totals.
-- Index:   keys of rollup_cursor and tenant_database.
-- Guard:   a cursor that is being moved is left for the next time: this holds the row of tenant 0, for
--          which whoever moves cursors waits at the end.
WITH due AS MATERIALIZED (
    SELECT c.tenant_id, c.own, d.wait_count, d.waited_s,
           greatest(d.wait_count - c.connection_waits, 0) AS waits, greatest(d.waited_s - c.connection_wait_s, 0) AS wait_s
      FROM rollup_cursor c JOIN tenant_database d ON d.tenant_id = c.tenant_id
     WHERE d.wait_count <> c.connection_waits OR d.waited_s <> c.connection_wait_s
       FOR NO KEY UPDATE OF c SKIP LOCKED
), counted AS (
    UPDATE rollup_cursor c SET connection_waits = d.wait_count, connection_wait_s = d.waited_s
      FROM due d WHERE c.tenant_id = d.tenant_id
)
UPDATE rollup_cursor c SET connection_waits = c.connection_waits + d.waits, connection_wait_s = c.connection_wait_s + d.wait_s
  FROM (SELECT sum(waits) AS waits, sum(wait_s) AS wait_s FROM due WHERE NOT own) d
 WHERE c.tenant_id = 0 AND d.waits IS NOT NULL
