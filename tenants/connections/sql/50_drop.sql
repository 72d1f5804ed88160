-- Drop a tenant's schema with all in it, whatever else the role owns here, and the role.  Fails while
-- the role has sessions that do not end.
CREATE OR REPLACE FUNCTION tenant_role_drop(p_tenant bigint) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_role text := @here@.tenant_role_name(p_tenant);
BEGIN
    EXECUTE format('DROP SCHEMA IF EXISTS %I CASCADE', @here@.tenant_schema_name(p_tenant));
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = v_role) THEN
        EXECUTE format('DROP OWNED BY %I CASCADE', v_role);  -- large objects, default privileges, grants
        EXECUTE format('DROP ROLE %I', v_role);
    END IF;
END
$$;
