-- Purpose: compare what a tenant's mutex row says with the rows that are the truth, and mend it.
-- Guard:   takes the tenant's mutex.  Returns: how many counts were wrong (0 is expected).
CREATE OR REPLACE FUNCTION engine_reconcile(p_tenant int) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
    v_load tenant_load%ROWTYPE;
    v_in_use int;
    v_ready int;
    v_control int;
    v_paused int;
    v_active int;
    v_runs int;
    v_forgotten uuid[];
BEGIN
    PERFORM engine_lock(ARRAY[p_tenant]);
    SELECT * INTO v_load FROM tenant_load WHERE tenant_id = p_tenant;
    SELECT count(*) INTO v_in_use FROM step_run WHERE tenant_id = p_tenant AND state = 'running';
    v_in_use := v_in_use + (SELECT count(*) FROM hold WHERE tenant_id = p_tenant);
    SELECT count(*) INTO v_ready FROM step_run WHERE tenant_id = p_tenant AND state = 'ready' AND parked IS NULL;
    SELECT count(*) INTO v_control FROM control WHERE tenant_id = p_tenant AND NOT held;
    SELECT count(*) INTO v_paused FROM run WHERE tenant_id = p_tenant AND state = 'paused';
    SELECT count(*) INTO v_active FROM run WHERE tenant_id = p_tenant AND state IN ('queued', 'running', 'paused');
    v_paused := v_paused + (SELECT count(*) FROM workflow WHERE tenant_id = p_tenant AND paused_at IS NOT NULL);
    UPDATE run r SET active_count = x.n
      FROM (SELECT q.id, (SELECT count(*) FROM step_run s WHERE s.tenant_id = q.tenant_id AND s.run_id = q.id AND s.state = 'running')
                       + (SELECT count(*) FROM hold h WHERE h.tenant_id = q.tenant_id AND h.run_id = q.id) AS n
              FROM run q WHERE q.tenant_id = p_tenant AND (q.state IN ('queued', 'running', 'paused') OR q.undo_state = 'running')
               AND q.max_parallel IS NOT NULL) x
     WHERE r.id = x.id AND r.active_count <> x.n;
    GET DIAGNOSTICS v_runs = ROW_COUNT;
    IF (v_in_use, v_ready, v_control, v_paused, v_active)
       <> (v_load.in_use, v_load.ready_count, v_load.control_count, v_load.paused_count, v_load.active_runs) THEN
        UPDATE tenant_load SET in_use = v_in_use, ready_count = v_ready, control_count = v_control,
               paused_count = v_paused, active_runs = v_active
         WHERE tenant_id = p_tenant;
    END IF;
    v_runs := v_runs + engine_reconcile_maps(p_tenant);
    -- runs that wait for a place under their `max_parallel` and have one: nothing else would wake them
    SELECT array_agg(q.id) INTO v_forgotten FROM run q
     WHERE q.tenant_id = p_tenant AND (q.state IN ('queued', 'running', 'paused') OR q.undo_state = 'running')
       AND q.max_parallel > q.active_count
       AND EXISTS (SELECT 1 FROM step_run s WHERE s.tenant_id = q.tenant_id AND s.run_id = q.id
                      AND s.state = 'ready' AND s.parked IS NOT NULL AND s.parked = 'max_parallel')
       AND NOT EXISTS (SELECT 1 FROM step_run s WHERE s.tenant_id = q.tenant_id AND s.run_id = q.id
                          AND s.state = 'ready' AND coalesce(s.parked, 'paused') = 'paused');
    IF v_forgotten IS NOT NULL THEN
        PERFORM engine_unpark(array_fill(p_tenant, ARRAY[cardinality(v_forgotten)]), v_forgotten);
        v_runs := v_runs + cardinality(v_forgotten);
    END IF;
    RETURN v_runs + (v_in_use <> v_load.in_use)::int + (v_ready <> v_load.ready_count)::int
         + (v_control <> v_load.control_count)::int + (v_paused <> v_load.paused_count)::int
         + (v_active <> v_load.active_runs)::int;
END
$$;
