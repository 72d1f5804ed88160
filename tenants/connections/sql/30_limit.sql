-- Set how many sessions a tenant's role may have, where that differs; those it has stay.
CREATE OR REPLACE FUNCTION tenant_role_limit(p_tenant bigint, p_limit int) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_role text := @here@.tenant_role_name(p_tenant);
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = v_role AND rolconnlimit <> p_limit) THEN
        RETURN false;  -- it is so already, or there is none: the repair makes it with its limit
    END IF;
    EXECUTE format('ALTER ROLE %I CONNECTION LIMIT %s', v_role, p_limit);
    RETURN true;
END
$$;
