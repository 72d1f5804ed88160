-- Purpose: compare what a tenant's maps say is in flight with the batches that are, and mend it.
-- Guard:   under the tenant's mutex.  Index: map_state_open.  Returns: how many were wrong.
CREATE OR REPLACE FUNCTION engine_reconcile_maps(p_tenant int) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
    v_count int;
BEGIN
    UPDATE map_state m SET in_flight = x.n
      FROM (SELECT o.run_id, o.ordinal,
                   (SELECT count(*) FROM step_run s
                     WHERE s.tenant_id = o.tenant_id AND s.run_id = o.run_id AND s.ordinal = o.ordinal
                       AND s.batch > 0 AND s.finished_at IS NULL) AS n
              FROM map_state o WHERE o.tenant_id = p_tenant AND o.finished_at IS NULL) x
     WHERE m.run_id = x.run_id AND m.ordinal = x.ordinal AND m.in_flight <> x.n;
    GET DIAGNOSTICS v_count = ROW_COUNT;
    RETURN v_count;
END
$$;
