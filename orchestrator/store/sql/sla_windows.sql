-- Purpose: the sums of rules' windows.
-- Index:   sla_sample's key: one range per window.
-- Input:   parallel arrays, a window each: its rule, its slices' width, from when on.
SELECT d.place, coalesce(s.total, 0)::bigint, coalesce(s.good, 0)::bigint, coalesce(s.clear, 0)::bigint
  FROM unnest(%(slas)s::bigint[], %(widths)s::int[], %(sinces)s::bigint[]) WITH ORDINALITY
       AS d (sla_id, width_s, since, place)
 CROSS JOIN LATERAL (
       SELECT sum(p.total) AS total, sum(p.good) AS good, sum(p.clear) AS clear FROM sla_sample p
        WHERE p.sla_id = d.sla_id AND p.width_s = d.width_s AND p.at >= to_timestamp(d.since)) s
 ORDER BY d.place
