-- Purpose: add what was counted to rules' samples, by the minute and by the hour.
-- Index:   sla_sample's key.
-- Guard:   the cursor of the rule's tenant is locked, so that nobody else writes these rows.
INSERT INTO sla_sample AS p (sla_id, tenant_id, width_s, at, total, good, clear)
SELECT s.id, s.tenant_id, w.width_s, to_timestamp(d.at - d.at %% w.width_s), sum(d.total), sum(d.good), sum(d.clear)
  FROM unnest(%(slas)s::bigint[], %(ats)s::bigint[], %(totals)s::bigint[], %(goods)s::bigint[], %(clears)s::bigint[])
       AS d (sla_id, at, total, good, clear)
  JOIN sla s ON s.id = d.sla_id
 CROSS JOIN (VALUES (60), (3600)) AS w (width_s)
 WHERE w.width_s = 3600 OR d.at >= %(fine_since)s::bigint
 GROUP BY 1, 2, 3, 4
 ORDER BY 1, 3, 4
    ON CONFLICT (sla_id, width_s, at) DO UPDATE SET
       total = p.total + excluded.total,
       good = p.good + excluded.good,
       clear = p.clear + excluded.clear
