-- Purpose: the clock's part of caches: expired outputs go; keys whose waiting steps nobody serves are
--          settled; a step of a paused run (or workflow) that was to make an output lets others go ahead.
-- Guard:   keys are chosen without locks, then looked at under the tenant's mutex.
-- Returns: how much it changed.
CREATE OR REPLACE FUNCTION engine_cache_tend(p_limit int) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
    v_count int;
    v_tenant int;
    v_tenants int[];
    v_keys text[];
    v_changed int;
    d_tenants int[];
    d_runs uuid[];
    d_versions bigint[];
    d_ordinals int[];
    d_states text[];
BEGIN
    WITH gone AS (
        DELETE FROM cache_entry e USING (
            SELECT o.tenant_id, o.key FROM cache_entry o WHERE o.expires_at <= v_now ORDER BY o.expires_at LIMIT p_limit) d
         WHERE e.tenant_id = d.tenant_id AND e.key = d.key AND e.expires_at <= v_now
        RETURNING e.tenant_id, e.key, e.output
    ), freed AS (
        DELETE FROM payload p USING gone g
         WHERE p.tenant_id = g.tenant_id AND p.cache_key IS NOT NULL AND p.cache_key = g.key AND strpos(g.output, chr(1)) > 0
    )
    SELECT count(*) INTO v_count FROM gone;

    SELECT array_agg(d.tenant_id), array_agg(d.key) INTO v_tenants, v_keys FROM (
        SELECT DISTINCT f.tenant_id, f.key FROM cache_flight f
         WHERE NOT f.flying
           AND (EXISTS (SELECT 1 FROM cache_entry e
                         WHERE e.tenant_id = f.tenant_id AND e.key = f.key AND e.expires_at > v_now)
                OR NOT EXISTS (SELECT 1 FROM cache_flight o
                                WHERE o.tenant_id = f.tenant_id AND o.key = f.key AND o.flying)
                OR EXISTS (SELECT 1 FROM tenant_load l WHERE l.tenant_id = f.tenant_id AND l.paused_count > 0)
                   AND EXISTS (SELECT 1 FROM cache_flight o
                                WHERE o.tenant_id = f.tenant_id AND o.key = f.key AND o.flying AND NOT o.control
                                  AND engine_paused(o.run_id))
                   AND NOT engine_paused(f.run_id))
         ORDER BY 1, 2 LIMIT p_limit) d;
    IF v_keys IS NULL THEN
        RETURN v_count;
    END IF;
    FOR v_tenant IN SELECT DISTINCT x FROM unnest(v_tenants) AS x ORDER BY 1 LOOP
        PERFORM engine_lock(ARRAY[v_tenant]);
        v_now := clock_timestamp();
        v_changed := engine_cache_yield(v_tenant, (SELECT array_agg(k.key) FROM unnest(v_tenants, v_keys) AS k (tenant_id, key)
                                                    WHERE k.tenant_id = v_tenant), v_now);
        SELECT * INTO d_tenants, d_runs, d_versions, d_ordinals, d_states
          FROM engine_cache_settle(
            (SELECT array_agg(k.tenant_id ORDER BY k.key) FROM unnest(v_tenants, v_keys) AS k (tenant_id, key)
              WHERE k.tenant_id = v_tenant),
            (SELECT array_agg(k.key ORDER BY k.key) FROM unnest(v_tenants, v_keys) AS k (tenant_id, key)
              WHERE k.tenant_id = v_tenant), p_limit, v_now);
        IF cardinality(d_runs) > 0 THEN
            PERFORM engine_propagate(d_tenants, d_runs, d_versions, d_ordinals, d_states, v_now);
        END IF;
        v_count := v_count + v_changed + cardinality(d_runs);
    END LOOP;
    RETURN v_count;
END
$$;

-- A step of a paused run that was to make an output, and has not started, goes to the end of the line.
CREATE OR REPLACE FUNCTION engine_cache_yield(p_tenant int, p_keys text[], p_now timestamptz)
RETURNS int LANGUAGE plpgsql AS $$
DECLARE
    v_count int;
    v_runs uuid[];
BEGIN
    WITH target AS (
        SELECT f.run_id, f.ordinal, f.batch, s.ctid AS tid, s.parked IS NULL AS claimable
          FROM cache_flight f
          JOIN step_run s ON s.tenant_id = f.tenant_id AND s.run_id = f.run_id AND s.ordinal = f.ordinal
                         AND s.batch = f.batch AND s.state = 'ready'
         WHERE f.tenant_id = p_tenant AND f.key = ANY (p_keys) AND f.flying AND NOT f.control
           AND engine_paused(f.run_id)
           AND EXISTS (SELECT 1 FROM cache_flight o
                        WHERE o.tenant_id = f.tenant_id AND o.key = f.key AND NOT o.flying AND NOT engine_paused(o.run_id))
    ), moved AS (
        UPDATE cache_flight f SET flying = false, created_at = p_now
          FROM target t WHERE f.run_id = t.run_id AND f.ordinal = t.ordinal AND f.batch = t.batch
    ), done AS (
        UPDATE step_run s SET state = 'waiting', parked = NULL, wait_reason = 'cache', due_at = NULL
          FROM target t WHERE s.ctid = t.tid
        RETURNING s.run_id, s.ordinal, s.batch, t.claimable
    ), told AS (
        INSERT INTO event (tenant_id, seq, at, type, run_id, ordinal, batch, data)
        SELECT p_tenant, (SELECT l.seq FROM tenant_load l WHERE l.tenant_id = p_tenant)
               + row_number() OVER (ORDER BY d.run_id, d.ordinal),
               p_now, 'step.waiting', d.run_id, d.ordinal, d.batch, '{"reason":"cache"}'
          FROM done d
    ), load AS (
        UPDATE tenant_load l SET seq = l.seq + d.n, ready_count = l.ready_count - d.ready
          FROM (SELECT count(*) AS n, count(*) FILTER (WHERE claimable) AS ready FROM done) d
         WHERE l.tenant_id = p_tenant
    )
    SELECT array_agg(DISTINCT d.run_id) INTO v_runs FROM done d;
    IF v_runs IS NOT NULL THEN
        PERFORM engine_unpark(array_fill(p_tenant, ARRAY[cardinality(v_runs)]), v_runs);
    END IF;
    SELECT count(*) INTO v_count FROM cache_flight f
     WHERE f.tenant_id = p_tenant AND f.key = ANY (p_keys) AND NOT f.flying AND f.created_at = p_now;
    RETURN v_count;
END
$$;

-- What a tenant keeps beyond so many outputs goes, the first to expire first.  Returns: how many went.
CREATE OR REPLACE FUNCTION engine_cache_trim(p_most int) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
    v_count int;
BEGIN
    WITH gone AS (
        DELETE FROM cache_entry e USING (
        SELECT t.id AS tenant_id, o.key FROM tenant t
         CROSS JOIN LATERAL (
             SELECT y.key FROM cache_entry y WHERE y.tenant_id = t.id
              ORDER BY y.expires_at DESC OFFSET p_most) o) d
         WHERE e.tenant_id = d.tenant_id AND e.key = d.key
        RETURNING e.tenant_id, e.key
    ), freed AS (
        DELETE FROM payload p USING gone g
         WHERE p.tenant_id = g.tenant_id AND p.cache_key IS NOT NULL AND p.cache_key = g.key
    )
    SELECT count(*) INTO v_count FROM gone;
    RETURN v_count;
END
$$;
