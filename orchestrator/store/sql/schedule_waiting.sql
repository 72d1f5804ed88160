-- Purpose: the times of these schedules that wait, oldest first, at most so many of each.
-- Index:   schedule_fire_waiting.
SELECT f.schedule_id, f.nominal_at, f.backfill_id
  FROM unnest(%(ids)s::bigint[]) AS d (id)
  CROSS JOIN LATERAL (
      SELECT o.schedule_id, o.nominal_at, o.backfill_id FROM schedule_fire o
       WHERE o.schedule_id = d.id AND o.outcome = 'waiting' ORDER BY o.nominal_at LIMIT %(limit)s) f
