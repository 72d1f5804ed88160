-- Purpose: close runs of one tenant on request.  Guard: takes the tenant's mutex.
-- Returns: the runs that were closed now; those terminal or closing already are left alone.
CREATE OR REPLACE FUNCTION engine_cancel(p_tenant int, p_runs uuid[], p_kind text, p_actor text)
RETURNS uuid[] LANGUAGE plpgsql AS $$
BEGIN
    PERFORM engine_lock(ARRAY[p_tenant]);
    RETURN engine_close(array_fill(p_tenant, ARRAY[cardinality(p_runs)]), p_runs, p_kind, p_actor, clock_timestamp());
END
$$;
