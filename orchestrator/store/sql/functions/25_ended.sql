-- Purpose: what steps waited for has come (a signal, a child run's end, or too much time): each keeps
--          what came, and Python is asked what that means (a retry, a repetition, the step's end).
-- Guard:   under the tenants' mutexes; only steps that still wait, for exactly this (`wait_key`).
-- Input:   parallel arrays; an entry has an output or an error (JSON).
-- Returns: the queues to wake.
CREATE OR REPLACE FUNCTION engine_ended(
    p_tenants int[], p_runs uuid[], p_ordinals int[], p_keys text[], p_outputs text[], p_errors text[],
    p_now timestamptz
) RETURNS text[] LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    v_wake text[];
BEGIN
    WITH done AS (
        UPDATE step_run s SET
            wait_reason = 'ended', due_at = NULL, reason = NULL, output = d.output,
            -- a wait that was cut short for its timeout has failed by that, whatever came in the end
            error = CASE WHEN o.reason = 'timeout' AND d.error IS NOT NULL THEN o.error ELSE d.error END
          FROM unnest(p_tenants, p_runs, p_ordinals, p_keys, p_outputs, p_errors)
               AS d (tenant_id, run_id, ordinal, key, output, error)
          CROSS JOIN LATERAL (
              SELECT o.ctid AS tid, o.reason, o.error FROM step_run o
               WHERE o.tenant_id = d.tenant_id AND o.run_id = d.run_id AND o.ordinal = d.ordinal AND o.batch = 0
                 AND coalesce(o.state, '') = 'waiting' AND o.wait_reason IN ('signal', 'child')
                 AND o.wait_key = d.key
              OFFSET 0) o
         WHERE s.ctid = o.tid
        RETURNING s.tenant_id, s.run_id, s.ordinal, s.queue
    ), asked AS (
        INSERT INTO control (tenant_id, run_id, ordinal, batch, kind, created_at)
        SELECT d.tenant_id, d.run_id, d.ordinal, 0, 'ended', p_now FROM done d
    ), load AS (
        UPDATE tenant_load l SET control_count = l.control_count + g.n
          FROM (SELECT tenant_id, count(*) AS n FROM done GROUP BY tenant_id) g
         CROSS JOIN LATERAL (SELECT o.ctid AS tid FROM tenant_load o WHERE o.tenant_id = g.tenant_id OFFSET 0) o
         WHERE l.ctid = o.tid
    )
    SELECT coalesce(array_agg(DISTINCT d.queue), '{}') INTO v_wake FROM done d;
    RETURN v_wake;
END
$$;
