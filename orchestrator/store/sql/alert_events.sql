-- Purpose: an event for each of these moves of tenants' alerts, at the tenants' next positions.
-- Index:   tenant_load's key.  Guard: the tenants' mutexes are held.
-- Input:   parallel arrays: tenant, type, actor, data; in the order of the moves.
WITH d AS (
    SELECT * FROM unnest(%(tenants)s::int[], %(types)s::text[], %(actors)s::text[], %(data)s::text[])
             WITH ORDINALITY AS d (tenant_id, type, actor, data, place)
), moved AS (
    UPDATE tenant_load l SET seq = l.seq + n.count
      FROM (SELECT tenant_id, count(*) AS count FROM d GROUP BY tenant_id) n
     WHERE l.tenant_id = n.tenant_id
 RETURNING l.tenant_id, l.seq - n.count AS before
)
INSERT INTO event (tenant_id, seq, at, type, actor, data)
SELECT d.tenant_id, m.before + row_number() OVER (PARTITION BY d.tenant_id ORDER BY d.place), clock_timestamp(),
       d.type, d.actor, d.data
  FROM d JOIN moved m ON m.tenant_id = d.tenant_id
