-- Purpose: take these schedules for firing, those alone that are still as they were read.
-- Guard:   after the tenant's mutex, in a later statement: another clock, or an edit, has gone by then.
SELECT s.id
  FROM unnest(%(ids)s::bigint[], %(revisions)s::int[], %(nexts)s::timestamptz[]) AS d (id, revision, next_at)
  JOIN schedule s ON s.id = d.id AND s.tenant_id = %(tenant_id)s AND s.revision = d.revision
                 AND s.next_at IS NOT DISTINCT FROM d.next_at AND s.look_at IS NOT NULL
   FOR NO KEY UPDATE OF s
