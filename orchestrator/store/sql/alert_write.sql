-- Purpose: alerts as they stand now: new ones are made, open ones are moved and told what was seen last.
-- Index:   alert's key.  Guard: the tenants' mutexes are held; the rows were read under them.
-- Input:   parallel arrays; a tenant of 0 is the server; lists of runs as texts of arrays.
WITH d AS MATERIALIZED (
    SELECT * FROM unnest(%(ids)s::uuid[], %(tenants)s::int[], %(rules)s::text[], %(labels)s::text[],
              %(prints)s::text[], %(workflows)s::text[], %(names)s::text[], %(severities)s::text[],
              %(states)s::text[], %(values)s::float8[], %(thresholds)s::float8[], %(units)s::text[],
              %(summaries)s::text[], %(runs)s::text[], %(started)s::timestamptz[], %(good)s::timestamptz[],
              %(fired)s::bool[])
       AS d (id, tenant_id, rule, labels, fingerprint, workflow, name, severity, state, value, threshold, unit,
             summary, run_ids, started_at, good_since, fired)
     ORDER BY id
), known AS (
    UPDATE alert a SET
           name = d.name, severity = d.severity, state = d.state, value = d.value, threshold = d.threshold,
           unit = d.unit, summary = d.summary, run_ids = d.run_ids::uuid[], good_since = d.good_since,
           fired_at = CASE WHEN d.fired THEN %(now)s::timestamptz ELSE a.fired_at END,
           resolved_at = CASE WHEN d.state IN ('ok', 'resolved') THEN %(now)s::timestamptz END
      FROM d WHERE a.id = d.id
 RETURNING a.id
)
INSERT INTO alert (id, tenant_id, rule, labels, fingerprint, workflow, name, severity, state, value, threshold, unit,
                   summary, run_ids, started_at, fired_at)
SELECT d.id, nullif(d.tenant_id, 0), d.rule, d.labels, d.fingerprint, d.workflow, d.name, d.severity, d.state, d.value,
       d.threshold, d.unit, d.summary, d.run_ids::uuid[], d.started_at, CASE WHEN d.fired THEN %(now)s::timestamptz END
  FROM d
 WHERE d.id NOT IN (SELECT id FROM known)
