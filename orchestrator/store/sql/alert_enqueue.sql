-- Purpose: put alerts into messages of their groups: into the one that collects, else into a new one.
-- Index:   notification_collecting.  Guard: that index; who claims a message takes it out of there.
-- Input:   parallel arrays, one row per channel, notice and group: id, tenant (0: the server), channel,
--          notice, group, alerts as the text of an array, seconds to wait.
INSERT INTO notification AS n (id, tenant_id, channel_id, notice, group_key, alert_ids, next_at)
SELECT d.id, nullif(d.tenant_id, 0), d.channel_id, d.notice, d.group_key, d.alert_ids::uuid[],
       clock_timestamp() + make_interval(secs => d.wait_s)
  FROM unnest(%(ids)s::uuid[], %(tenants)s::int[], %(channels)s::bigint[], %(notices)s::text[], %(groups)s::text[],
              %(alerts)s::text[], %(waits)s::float8[])
       AS d (id, tenant_id, channel_id, notice, group_key, alert_ids, wait_s)
 ORDER BY d.channel_id, d.notice, d.group_key
    ON CONFLICT (channel_id, notice, group_key) WHERE state = 'collecting' DO UPDATE SET
       alert_ids = ARRAY(SELECT DISTINCT unnest(n.alert_ids || excluded.alert_ids))
