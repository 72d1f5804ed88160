-- Purpose: let these nominal times of a schedule wait for their runs, but for those that had one.
-- Guard:   the key (schedule, nominal time): what started or waits is left alone.
INSERT INTO schedule_fire (schedule_id, tenant_id, nominal_at, outcome, made_up, backfill_id)
SELECT %(schedule_id)s, %(tenant_id)s, d.nominal_at, 'waiting', true, %(backfill_id)s
  FROM unnest(%(nominals)s::timestamptz[]) AS d (nominal_at)
    ON CONFLICT (schedule_id, nominal_at) DO UPDATE
   SET outcome = 'waiting', reason = NULL, detail = NULL, missed_count = 0, since_at = NULL, made_up = true,
       backfill_id = excluded.backfill_id, decided_at = clock_timestamp()
 WHERE schedule_fire.outcome IN ('skipped', 'failed', 'missed')
RETURNING nominal_at
