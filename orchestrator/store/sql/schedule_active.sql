-- Purpose: let go of the runs of these schedules that have ended (or are forgotten); the others.
-- Guard:   under the tenant's mutex, so that none ends meanwhile.  Index: schedule_fire_active, run's key.
WITH seen AS MATERIALIZED (
    SELECT f.schedule_id, f.nominal_at, f.run_id, f.backfill_id IS NOT NULL AS filled_in, r.created_at,
           r.id IS NULL AS is_over
      FROM schedule_fire f
      LEFT JOIN LATERAL (
          SELECT o.id, o.created_at FROM run o WHERE o.id = f.run_id AND o.finished_at IS NULL OFFSET 0) r ON true
     WHERE f.schedule_id = ANY (%(ids)s::bigint[]) AND f.is_active
), over AS (
    UPDATE schedule_fire f SET is_active = false
      FROM seen s
     WHERE s.is_over AND f.schedule_id = s.schedule_id AND f.nominal_at = s.nominal_at
)
SELECT s.schedule_id, s.run_id, s.filled_in, s.created_at FROM seen s WHERE NOT s.is_over
