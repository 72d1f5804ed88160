-- Purpose: the times of these schedules that wait, oldest first: at most so many of each, and as many of
--          those that are not made up for, which a long backfill would else hide.
-- Index:   schedule_fire_waiting.
SELECT f.schedule_id, f.nominal_at, f.backfill_id, f.made_up
  FROM unnest(%(ids)s::bigint[]) AS d (id)
  CROSS JOIN LATERAL (
      (SELECT o.schedule_id, o.nominal_at, o.backfill_id, o.made_up FROM schedule_fire o
        WHERE o.schedule_id = d.id AND o.outcome = 'waiting' ORDER BY o.nominal_at LIMIT %(limit)s)
      UNION
      (SELECT o.schedule_id, o.nominal_at, o.backfill_id, o.made_up FROM schedule_fire o
        WHERE o.schedule_id = d.id AND o.outcome = 'waiting' AND NOT o.made_up ORDER BY o.nominal_at LIMIT %(limit)s)) f
 ORDER BY f.schedule_id, f.nominal_at
