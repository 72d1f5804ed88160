-- Purpose: write down what rules came to.
-- Index:   sla_state's key.
-- Guard:   a rule that was deleted meanwhile is left out; one that is being deleted is waited for.
INSERT INTO sla_state AS p (sla_id, tenant_id, at, changed_at, sight, was_bad, value, total, good, late, budget,
                            burns, no_data, error)
SELECT s.id, s.tenant_id, %(now)s::timestamptz, %(now)s::timestamptz, d.sight, d.was_bad, d.value, d.total, d.good,
       d.late, d.budget, d.burns, d.no_data, d.error
  FROM json_to_recordset(%(states)s::json) AS d (
       sla_id bigint, sight text, was_bad boolean, value float8, total bigint, good bigint, late int,
       budget float8, burns jsonb, no_data boolean, error text)
  JOIN sla s ON s.id = d.sla_id
 ORDER BY s.id
   FOR KEY SHARE OF s
    ON CONFLICT (sla_id) DO UPDATE SET
       at = excluded.at,
       changed_at = CASE WHEN p.sight = excluded.sight THEN p.changed_at ELSE excluded.changed_at END,
       sight = excluded.sight, was_bad = excluded.was_bad, value = excluded.value, total = excluded.total,
       good = excluded.good, late = excluded.late, budget = excluded.budget, burns = excluded.burns,
       no_data = excluded.no_data, error = excluded.error
