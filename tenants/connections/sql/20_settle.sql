-- Make a tenant's role and schema, or bring them back to what they should be: the password, the limit,
-- no settings of the role's own.  Runs as its owner, who may make roles, so that a process which works
-- under a lesser role can call it.  The schema belongs to the server: the tenant makes things in it,
-- and can neither drop it, rename it nor let others in.
CREATE OR REPLACE FUNCTION tenant_role_settle(p_tenant bigint, p_verifier text, p_limit int) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_role text := @here@.tenant_role_name(p_tenant);
    v_schema text := @here@.tenant_schema_name(p_tenant);
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = v_role) THEN
        EXECUTE format('CREATE ROLE %I LOGIN NOINHERIT CONNECTION LIMIT %s PASSWORD %L',
                       v_role, p_limit, p_verifier);
        IF NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
            EXECUTE format('GRANT %I TO %I', v_role, current_user);  -- to end its sessions, to drop what it owns
        END IF;
    ELSE
        EXECUTE format('ALTER ROLE %I LOGIN CONNECTION LIMIT %s PASSWORD %L', v_role, p_limit, p_verifier);
        EXECUTE format('ALTER ROLE %I RESET ALL', v_role);
        EXECUTE format('ALTER ROLE %I IN DATABASE %I RESET ALL', v_role, current_database());
    END IF;
    IF has_parameter_privilege('temp_file_limit', 'SET') THEN  -- else a disk is the limit: see the doctor
        EXECUTE format('ALTER ROLE %I SET temp_file_limit = %L', v_role, '2GB');
    END IF;
    IF NOT has_database_privilege(v_role, current_database(), 'CONNECT')
       OR NOT has_database_privilege(v_role, current_database(), 'TEMPORARY') THEN
        EXECUTE format('GRANT CONNECT, TEMPORARY ON DATABASE %I TO %I', current_database(), v_role);
    END IF;
    IF to_regnamespace(v_schema) IS NULL THEN
        EXECUTE format('CREATE SCHEMA %I', v_schema);
    END IF;
    EXECUTE format('GRANT USAGE, CREATE ON SCHEMA %I TO %I', v_schema, v_role);
END
$$;
