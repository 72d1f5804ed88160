-- Purpose: circuit breakers, one row for each tenant and host that failed; none for hosts that answer.
--          closed (failures in a row are counted) -> open (nothing is sent until retry_at)
--          -> half_open (one step tries) -> no row, or open again.
-- Locks:   the tenant's mutex where waiting steps are freed, then the breaker's row.

-- Purpose: may a step of this tenant call this host now?
-- Returns: 0 yes; -1 yes, as the one that tries; else the seconds to wait.
CREATE OR REPLACE FUNCTION engine_breaker_try(p_tenant int, p_host text, p_pause_s double precision)
RETURNS double precision LANGUAGE plpgsql AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
BEGIN
    -- should the one that tries be lost, another may after the same pause
    UPDATE breaker SET state = 'half_open', retry_at = v_now + p_pause_s * interval '1 second', updated_at = v_now
     WHERE tenant_id = p_tenant AND host = p_host AND state <> 'closed' AND retry_at <= v_now;
    IF FOUND THEN
        RETURN -1;
    END IF;
    RETURN coalesce((
        SELECT greatest(extract(epoch FROM b.retry_at - v_now), 0.001)::float8 FROM breaker b
         WHERE b.tenant_id = p_tenant AND b.host = p_host AND b.state <> 'closed'), 0);
END
$$;

-- Purpose: a call has failed: count it; open after so many in a row, or where the one that tried failed.
-- Returns: whether the breaker is open now.
CREATE OR REPLACE FUNCTION engine_breaker_failed(
    p_tenant int, p_host text, p_tried boolean, p_failures int, p_pause_s double precision
) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
    v_row breaker%ROWTYPE;
BEGIN
    INSERT INTO breaker (tenant_id, host, failures) VALUES (p_tenant, p_host, 0) ON CONFLICT DO NOTHING;
    SELECT * INTO v_row FROM breaker WHERE tenant_id = p_tenant AND host = p_host FOR UPDATE;
    IF NOT FOUND THEN
        RETURN false;  -- somebody's success has just taken the row away
    END IF;
    v_row.failures := v_row.failures + 1;
    IF p_tried OR v_row.state = 'closed' AND v_row.failures >= p_failures THEN
        v_row.state := 'open';
        v_row.opened_at := coalesce(v_row.opened_at, v_now);
        v_row.retry_at := v_now + p_pause_s * interval '1 second';
    END IF;
    UPDATE breaker SET state = v_row.state, failures = v_row.failures, opened_at = v_row.opened_at,
                       retry_at = v_row.retry_at, updated_at = v_now
     WHERE tenant_id = p_tenant AND host = p_host;
    RETURN v_row.state <> 'closed';
END
$$;

-- Purpose: a call was answered: failures in a row begin anew; where it was the one that tried, the breaker
--          closes and the tenant's steps that wait for breakers are due.
-- Index:   step_run_breaker.
CREATE OR REPLACE FUNCTION engine_breaker_answered(p_tenant int, p_host text, p_tried boolean)
RETURNS void LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
BEGIN
    IF NOT p_tried THEN
        DELETE FROM breaker WHERE tenant_id = p_tenant AND host = p_host AND state = 'closed';
        RETURN;
    END IF;
    PERFORM engine_lock(ARRAY[p_tenant]);
    DELETE FROM breaker WHERE tenant_id = p_tenant AND host = p_host;
    UPDATE step_run s SET due_at = clock_timestamp()
      FROM (SELECT o.ctid AS tid FROM step_run o
             WHERE o.tenant_id = p_tenant AND o.state = 'waiting' AND o.wait_reason = 'breaker'
               AND o.due_at > clock_timestamp() OFFSET 0) o
     WHERE s.ctid = o.tid;
END
$$;
