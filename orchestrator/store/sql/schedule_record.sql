-- Purpose: write down what becomes of nominal times; answers those that this decided.
-- Guard:   the key (schedule, nominal time): a time has one outcome; only one that waits gets another.
WITH given AS MATERIALIZED (
    SELECT * FROM unnest(%(schedules)s::bigint[], %(nominals)s::timestamptz[], %(outcomes)s::text[],
                         %(reasons)s::text[], %(details)s::text[], %(runs)s::uuid[], %(counts)s::int[],
                         %(sinces)s::timestamptz[], %(made_up)s::bool[], %(waited)s::bool[])
        AS d (schedule_id, nominal_at, outcome, reason, detail, run_id, missed_count, since_at, made_up, waited)
), moved AS (
    UPDATE schedule_fire f
       SET decided_at = clock_timestamp(), outcome = d.outcome, reason = d.reason, detail = d.detail,
           run_id = d.run_id, is_active = d.run_id IS NOT NULL
      FROM given d
     WHERE d.waited AND f.schedule_id = d.schedule_id AND f.nominal_at = d.nominal_at AND f.outcome = 'waiting'
    RETURNING f.schedule_id, f.nominal_at
), made AS (
    INSERT INTO schedule_fire (schedule_id, tenant_id, nominal_at, decided_at, outcome, reason, detail, run_id,
                               is_active, missed_count, since_at, made_up)
    SELECT d.schedule_id, %(tenant_id)s, d.nominal_at, clock_timestamp(), d.outcome, d.reason, d.detail, d.run_id,
           d.run_id IS NOT NULL, d.missed_count, d.since_at, d.made_up
      FROM given d WHERE NOT d.waited
     ORDER BY d.schedule_id, d.nominal_at
        ON CONFLICT (schedule_id, nominal_at) DO NOTHING
    RETURNING schedule_id, nominal_at
)
SELECT * FROM moved UNION ALL SELECT * FROM made
