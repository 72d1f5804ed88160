-- End a session of a tenant's role: its step is over, and a statement may swallow a cancel.
CREATE OR REPLACE FUNCTION tenant_role_end(p_tenant bigint, p_pid int) RETURNS boolean
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce(bool_or(pg_terminate_backend(pid)), false) FROM pg_stat_activity
     WHERE pid = p_pid AND usename = @here@.tenant_role_name(p_tenant)
$$;
