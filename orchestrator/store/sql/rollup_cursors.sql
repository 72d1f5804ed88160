-- Purpose: a cursor for each tenant that has none yet.
-- Index:   keys of tenant_load and rollup_cursor.
INSERT INTO rollup_cursor (tenant_id)
SELECT l.tenant_id FROM tenant_load l
 WHERE l.seq > 0 AND NOT EXISTS (SELECT 1 FROM rollup_cursor c WHERE c.tenant_id = l.tenant_id)
    ON CONFLICT DO NOTHING
