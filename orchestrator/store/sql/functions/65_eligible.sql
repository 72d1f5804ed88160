-- Purpose: the queues with work that could run now: the clock wakes what the broker forgot.
CREATE OR REPLACE FUNCTION engine_eligible(p_lease_s double precision) RETURNS text[] LANGUAGE sql STABLE AS $$
    SELECT coalesce(array_agg(DISTINCT q.queue), '{}')
      FROM (SELECT DISTINCT a.queue FROM worker w, unnest(w.queues) AS a (queue)
             WHERE w.state = 'active'
               AND w.seen_at > clock_timestamp() - p_lease_s * interval '1 second') q
     WHERE EXISTS (
        SELECT 1 FROM tenant_load l
          JOIN quota k ON k.tenant_id = l.tenant_id
          JOIN tenant t ON t.id = l.tenant_id AND t.suspended_at IS NULL
         WHERE EXISTS (SELECT 1 FROM control c WHERE l.control_count > 0 AND c.tenant_id = l.tenant_id AND NOT c.held
                          AND (c.taken_at IS NULL OR c.taken_at < clock_timestamp() - interval '1 second'))
            OR l.ready_count > 0 AND l.in_use < k.max_connections AND EXISTS (
                SELECT 1 FROM step_run s WHERE s.tenant_id = l.tenant_id AND s.queue = q.queue
                   AND s.state = 'ready' AND s.parked IS NULL AND s.pool = '')
            OR l.ready_count > 0 AND l.in_use < k.max_connections AND EXISTS (SELECT 1 FROM pool)
               AND engine_pool_ready(l.tenant_id, ARRAY[q.queue], NULL, true))
$$;
