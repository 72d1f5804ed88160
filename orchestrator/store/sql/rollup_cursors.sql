-- Purpose: a cursor for each tenant that has none yet, and the row (tenant 0) where what tenants without
--          a label of their own did is added up.
-- Index:   keys of tenant_load, rollup_cursor and tenant.
-- Input:   how many tenants may have a label of their own: newcomers get one while there is room.
-- Canary:  the server's own tenant never gets one; nor does one that is called `other`, as all others are.
INSERT INTO rollup_cursor (tenant_id, own)
SELECT n.tenant_id, n.named AND n.nr + (SELECT count(*) FROM rollup_cursor o WHERE o.own) <= %(labels)s::int
  FROM (SELECT l.tenant_id, l.tenant_id > 0 AND t.is_system IS NOT TRUE AND t.slug IS DISTINCT FROM 'other' AS named,
               row_number() OVER (ORDER BY t.is_system IS TRUE OR t.slug = 'other', l.tenant_id) AS nr
          FROM (SELECT tenant_id FROM tenant_load WHERE seq > 0 UNION ALL SELECT 0) l
          LEFT JOIN tenant t ON t.id = l.tenant_id
         WHERE NOT EXISTS (SELECT 1 FROM rollup_cursor c WHERE c.tenant_id = l.tenant_id)) n
    ON CONFLICT DO NOTHING
