-- Purpose: delete runs that ended long ago, children first, in small batches.
-- Guard:   terminal runs alone, chosen without locks; their rows are locked, and looked at again.  Not
--          under the tenants' mutexes: it may take long.  A run to which something is done by hand
--          (engine_lock_run) is passed over, and who comes later finds it gone.
-- Index:   run_newest, oldest first: old runs that have not ended are passed over, never taken for all there is.
-- A tenant's `retention_days` count, else the server's.
CREATE OR REPLACE FUNCTION engine_forget_runs(p_days int, p_limit int) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
    v_tenants int[];
    v_runs uuid[];
    v_before timestamptz[];
BEGIN
    SELECT array_agg(o.id), array_agg(o.before) INTO v_runs, v_before FROM (
        SELECT r.id, d.before FROM tenant t
         CROSS JOIN LATERAL (
            SELECT clock_timestamp() - coalesce(q.retention_days, p_days) * interval '1 day' AS before
              FROM quota q WHERE q.tenant_id = t.id) d
         CROSS JOIN LATERAL (
            SELECT n.id FROM run n
             WHERE n.tenant_id = t.id AND n.created_at < d.before AND n.finished_at < d.before
               AND n.undo_state IS DISTINCT FROM 'running'
             ORDER BY n.created_at, n.id LIMIT p_limit) r
         LIMIT p_limit) o;
    SELECT array_agg(o.tenant_id), array_agg(o.id) INTO v_tenants, v_runs FROM (
        SELECT r.tenant_id, r.id FROM unnest(v_runs, v_before) AS d (run_id, before)
          JOIN run r ON r.id = d.run_id
         WHERE r.finished_at < d.before AND r.undo_state IS DISTINCT FROM 'running'
         ORDER BY r.id FOR UPDATE OF r SKIP LOCKED) o;
    IF v_runs IS NULL THEN
        RETURN 0;
    END IF;
    -- objects in the storage go once no payload needs them (store/payloads.py)
    DELETE FROM payload p USING unnest(v_runs) AS d (run_id) WHERE p.run_id = d.run_id;
    DELETE FROM heartbeat h USING unnest(v_tenants, v_runs) AS d (tenant_id, run_id)
     WHERE h.run_id = d.run_id AND h.tenant_id = d.tenant_id;
    DELETE FROM attempt_log l USING unnest(v_tenants, v_runs) AS d (tenant_id, run_id)
     WHERE l.run_id = d.run_id AND l.tenant_id = d.tenant_id;
    DELETE FROM step_run s USING unnest(v_tenants, v_runs) AS d (tenant_id, run_id)
     WHERE s.tenant_id = d.tenant_id AND s.run_id = d.run_id;
    DELETE FROM map_state m USING unnest(v_tenants, v_runs) AS d (tenant_id, run_id)
     WHERE m.tenant_id = d.tenant_id AND m.run_id = d.run_id;
    DELETE FROM map_pack p USING unnest(v_tenants, v_runs) AS d (tenant_id, run_id)
     WHERE p.tenant_id = d.tenant_id AND p.run_id = d.run_id;
    DELETE FROM idempotency_key k USING unnest(v_tenants, v_runs) AS d (tenant_id, run_id)
     WHERE k.tenant_id = d.tenant_id AND k.run_id = d.run_id;
    DELETE FROM run r USING unnest(v_runs) AS d (run_id) WHERE r.id = d.run_id;
    RETURN cardinality(v_runs);
END
$$;
