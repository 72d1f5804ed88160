-- Purpose: take the mutexes of these tenants, in the order of their ids, as every writer does.
-- Guard:   what follows must be a later statement: one that waited keeps its old snapshot.
CREATE OR REPLACE FUNCTION engine_lock(p_tenants int[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1 FROM tenant_load WHERE tenant_id = ANY (p_tenants)
     ORDER BY tenant_id FOR NO KEY UPDATE;
END
$$;
