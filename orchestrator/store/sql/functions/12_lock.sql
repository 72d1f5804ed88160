-- Purpose: take the mutexes of these tenants, in the order of their ids, as every writer does.
-- Guard:   what follows must be a later statement: one that waited keeps its old snapshot.
CREATE OR REPLACE FUNCTION engine_lock(p_tenants int[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1 FROM tenant_load WHERE tenant_id = ANY (p_tenants)
     ORDER BY tenant_id FOR NO KEY UPDATE;
END
$$;

-- Purpose: the same for what is done by hand to a run that may have ended long ago: its row is locked too,
--          so that it is not deleted meanwhile (engine_forget_runs).  Returns: whether it is there still.
CREATE OR REPLACE FUNCTION engine_lock_run(p_tenant int, p_run uuid) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    PERFORM engine_lock(ARRAY[p_tenant]);
    PERFORM 1 FROM run r WHERE r.id = p_run AND (r.tenant_id = p_tenant) IS TRUE FOR NO KEY UPDATE;
    RETURN FOUND;
END
$$;
