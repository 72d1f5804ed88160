-- Purpose: charge running steps that last longer than was charged at their claim, so that fairness
--          sees long steps while they run.  Called with each renewal of a lease.
CREATE OR REPLACE FUNCTION engine_charge(p_worker int) RETURNS void LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
    v_tenants int[];
BEGIN
    SELECT array_agg(DISTINCT s.tenant_id) INTO v_tenants FROM step_run s
     WHERE s.state = 'running' AND s.worker_id = p_worker
       AND extract(epoch FROM v_now - s.started_at) > s.charged_s + 1;
    IF v_tenants IS NULL THEN
        RETURN;
    END IF;
    PERFORM engine_lock(v_tenants);
    WITH target AS (
        SELECT s.ctid AS tid, extract(epoch FROM v_now - s.started_at) - s.charged_s AS owed
          FROM step_run s
         WHERE s.state = 'running' AND s.worker_id = p_worker AND s.tenant_id = ANY (v_tenants)
           AND extract(epoch FROM v_now - s.started_at) > s.charged_s + 1
    ), charged AS (
        UPDATE step_run s SET charged_s = s.charged_s + t.owed
          FROM target t
         WHERE s.ctid = t.tid
        RETURNING s.tenant_id, t.owed
    )
    UPDATE tenant_load l SET vtime = l.vtime + g.owed / q.weight
      FROM (SELECT tenant_id, sum(owed) AS owed FROM charged GROUP BY tenant_id) g
      CROSS JOIN LATERAL (SELECT o.weight FROM quota o WHERE o.tenant_id = g.tenant_id OFFSET 0) q
      CROSS JOIN LATERAL (SELECT o.ctid AS tid FROM tenant_load o WHERE o.tenant_id = g.tenant_id OFFSET 0) o
     WHERE l.ctid = o.tid;
END
$$;
