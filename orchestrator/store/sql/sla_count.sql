-- Purpose: count stretches of tenants' events for rules, by rule and minute.
-- Index:   event_position (one range per tenant), run's key for its workflow, labels and beginning.
-- Input:   `rules`: what is counted (see store.sla_rules.Counted), as JSON; parallel arrays of stretches.
-- Returns: rule, minute (unix seconds), samples, good ones, those that a clear threshold calls good.
-- Guard:   to count each event once, the tenants' cursors are locked.
WITH rule AS MATERIALIZED (
    SELECT * FROM json_to_recordset(%(rules)s::json) AS r (
        id bigint, tenant_id int, measure text, types text[], workflow_ids bigint[], labels jsonb,
        seconds float8, clear_seconds float8)
), stretch AS MATERIALIZED (
    SELECT d.tenant_id, d.after, d.upto,
           ARRAY(SELECT DISTINCT x.type FROM rule r CROSS JOIN unnest(r.types) AS x (type)
                  WHERE r.tenant_id = d.tenant_id) AS types
      FROM unnest(%(tenants)s::int[], %(after)s::bigint[], %(upto)s::bigint[]) AS d (tenant_id, after, upto)
), seen AS MATERIALIZED (
    SELECT e.tenant_id, e.type, e.at, e.value_s, e.lag_s, o.workflow_id, o.labels, o.asked_at
      FROM stretch d
     CROSS JOIN LATERAL (
           SELECT v.tenant_id, v.type, v.at, v.value_s, v.run_id,
                  CASE WHEN v.batch = 0 THEN v.lag_s END AS lag_s
             FROM event v
            WHERE v.tenant_id = d.tenant_id AND v.seq > d.after AND v.seq <= d.upto AND v.type = ANY (d.types)) e
      LEFT JOIN LATERAL (SELECT r.workflow_id, r.labels, greatest(r.created_at, r.start_at) AS asked_at
                           FROM run r WHERE r.id = e.run_id OFFSET 0) o ON true
)
SELECT r.id, (floor(extract(epoch FROM s.at) / 60) * 60)::bigint, count(*),
       count(*) FILTER (WHERE CASE r.measure WHEN 'outcome' THEN s.type = 'run.succeeded'
                                             WHEN 'rate' THEN true
                                             WHEN 'fresh' THEN s.type = 'run.succeeded' AND t.took <= r.seconds
                                             ELSE t.took <= r.seconds END),
       count(*) FILTER (WHERE CASE r.measure WHEN 'outcome' THEN s.type = 'run.succeeded'
                                             WHEN 'rate' THEN true
                                             WHEN 'fresh' THEN s.type = 'run.succeeded' AND t.took <= r.clear_seconds
                                             ELSE t.took <= r.clear_seconds END)
  FROM rule r
  JOIN seen s ON s.tenant_id = r.tenant_id AND s.type = ANY (r.types)
 CROSS JOIN LATERAL (
       SELECT CASE r.measure WHEN 'fresh' THEN extract(epoch FROM s.at - s.asked_at)::float8
                             WHEN 'ready' THEN s.lag_s ELSE s.value_s END) AS t (took)
 WHERE (r.workflow_ids = '{}' OR s.workflow_id = ANY (r.workflow_ids))
   AND (r.labels = '{}'::jsonb OR s.labels @> r.labels)
   AND (r.measure NOT IN ('queue', 'ready') OR t.took IS NOT NULL)
 GROUP BY 1, 2
