-- Purpose: runs that were held (for their time, or for a place among runs of their key) begin: their
--          first steps become ready; of one that runs again also those whose parents had ended before.
-- Guard:   under the tenants' mutexes; only steps that are blocked.
-- Returns: the queues to wake.
CREATE OR REPLACE FUNCTION engine_start(p_tenants int[], p_runs uuid[], p_now timestamptz)
RETURNS text[] LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    v_us bigint := engine_micros(p_now);
    v_wake text[];
    v_again record;
BEGIN
    WITH base AS MATERIALIZED (
        SELECT l.tenant_id, l.seq FROM tenant_load l WHERE l.tenant_id = ANY (p_tenants)
    ), moved AS (
        UPDATE step_run s SET
            state = 'ready',
            parked = CASE WHEN s.control THEN 'control' END,
            ready_at = p_now,
            rank = v_us - s.priority * 60000000::bigint
          FROM unnest(p_tenants, p_runs) AS d (tenant_id, run_id)
          CROSS JOIN LATERAL (
              SELECT o.ctid AS tid FROM step_run o
               WHERE o.tenant_id = d.tenant_id AND o.run_id = d.run_id AND o.batch = 0
                 AND coalesce(o.state, '') = 'blocked' AND o.parents_total = 0
              OFFSET 0) o
         WHERE s.ctid = o.tid
        RETURNING s.tenant_id, s.run_id, s.ordinal, s.parked, s.queue
    ), told AS (
        INSERT INTO event (tenant_id, seq, at, type, run_id, ordinal, batch)
        SELECT m.tenant_id, (SELECT b.seq FROM base b WHERE b.tenant_id = m.tenant_id) + row_number() OVER (PARTITION BY m.tenant_id ORDER BY m.run_id, m.ordinal),
               p_now, 'step.ready', m.run_id, m.ordinal, 0
          FROM moved m
    ), asked AS (
        INSERT INTO control (tenant_id, run_id, ordinal, batch, kind, created_at)
        SELECT m.tenant_id, m.run_id, m.ordinal, 0, 'condition', p_now FROM moved m WHERE m.parked = 'control'
    ), load AS (
        UPDATE tenant_load l SET
            seq = l.seq + g.n,
            ready_count = l.ready_count + g.n - g.asked,
            control_count = l.control_count + g.asked
          FROM (SELECT tenant_id, count(*) AS n, count(*) FILTER (WHERE parked = 'control') AS asked
                  FROM moved GROUP BY tenant_id) g
         CROSS JOIN LATERAL (SELECT o.ctid AS tid FROM tenant_load o WHERE o.tenant_id = g.tenant_id OFFSET 0) o
         WHERE l.ctid = o.tid
    )
    SELECT coalesce(array_agg(DISTINCT m.queue), '{}') INTO v_wake FROM moved m;
    FOR v_again IN
        SELECT d.tenant_id, d.run_id, r.version_id, s.ordinals
          FROM unnest(p_tenants, p_runs) AS d (tenant_id, run_id)
          CROSS JOIN LATERAL (
              SELECT array_agg(o.ordinal) AS ordinals FROM step_run o
               WHERE o.tenant_id = d.tenant_id AND o.run_id = d.run_id AND o.batch = 0
                 AND coalesce(o.state, '') = 'blocked' AND o.parents_left < o.parents_total) s
          CROSS JOIN LATERAL (SELECT o.version_id FROM run o WHERE o.id = d.run_id OFFSET 0) r
         WHERE s.ordinals IS NOT NULL
    LOOP
        v_wake := v_wake || engine_reset(
            v_again.tenant_id, v_again.run_id, v_again.version_id, '{}', v_again.ordinals, NULL, p_now);
    END LOOP;
    RETURN v_wake;
END
$$;
