-- Purpose: compare the pools' use with the rows that are the truth, and the server's total with the sum of
--          the tenants, and mend them.
-- Guard:   takes every tenant's mutex, in order, then the pools, then the total; a few milliseconds, once a minute.
CREATE OR REPLACE FUNCTION engine_reconcile_total() RETURNS int LANGUAGE plpgsql AS $$
DECLARE
    v_said bigint;
    v_true bigint;
    v_pools int;
BEGIN
    PERFORM 1 FROM tenant_load ORDER BY tenant_id FOR NO KEY UPDATE;
    v_pools := engine_reconcile_pools();
    PERFORM 1 FROM server_load ORDER BY slot FOR NO KEY UPDATE;
    SELECT sum(in_use) INTO v_true FROM tenant_load;
    SELECT sum(CASE WHEN slot = -1 THEN amount ELSE -amount END) INTO v_said FROM server_load;
    IF coalesce(v_true, 0) = v_said THEN
        RETURN v_pools;
    END IF;
    UPDATE server_load SET amount = CASE WHEN slot = -1 THEN coalesce(v_true, 0) ELSE 0 END;
    RETURN v_pools + 1;
END
$$;
