-- The role and the schema of a tenant.  Roles are the cluster's, and several databases may live in one:
-- the role's name carries the database's oid.
CREATE OR REPLACE FUNCTION tenant_role_name(p_tenant bigint) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT format('millrace_%s_t_%s', oid, p_tenant) FROM pg_database WHERE datname = current_database()
$$;

CREATE OR REPLACE FUNCTION tenant_schema_name(p_tenant bigint) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$ SELECT format('tenant_%s', p_tenant) $$;
