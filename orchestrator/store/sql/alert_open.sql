-- Purpose: the open alerts of these rules and labels.
-- Index:   alert_open (its very expressions).  Guard: none; who will write holds the tenants' mutexes.
-- Input:   parallel arrays: tenant (0: the server), rule, fingerprint.
SELECT coalesce(a.tenant_id, 0), a.rule, a.fingerprint, a.id, a.state, a.started_at, a.good_since, a.name,
       a.labels, a.severity, a.value, a.threshold, a.unit, a.summary, a.run_ids
  FROM unnest(%(tenants)s::int[], %(rules)s::text[], %(prints)s::text[]) AS d (tenant_id, rule, fingerprint)
  JOIN alert a ON coalesce(a.tenant_id, 0) = d.tenant_id AND a.rule = d.rule AND a.fingerprint = d.fingerprint
              AND a.state IN ('acknowledged', 'firing', 'pending')
