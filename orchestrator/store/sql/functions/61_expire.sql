-- Purpose: close runs whose timeout or deadline has passed; cut off `always` steps 5 min after closing.
-- Index:   run_expiring, run_closing.
-- Guard:   each takes the mutexes of its runs' tenants, once and by id; so they are two transactions.
-- Returns: how many runs were touched.
CREATE OR REPLACE FUNCTION engine_expire(p_limit int) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
    v_tenants int[];
    v_runs uuid[];
    v_kinds text[];
    v_count int := 0;
BEGIN
    SELECT array_agg(d.tenant_id), array_agg(d.id), array_agg(d.kind) INTO v_tenants, v_runs, v_kinds FROM (
        SELECT r.tenant_id, r.id, CASE WHEN r.deadline_at <= v_now THEN 'deadline' ELSE 'timeout' END AS kind
          FROM run r
         WHERE r.finished_at IS NULL AND r.closing IS NULL AND r.expires_at <= v_now
         ORDER BY r.expires_at LIMIT p_limit) d;
    IF v_runs IS NOT NULL THEN
        PERFORM engine_lock(v_tenants);
        v_now := clock_timestamp();
        FOR i IN 1 .. cardinality(v_runs) LOOP
            v_count := v_count + cardinality(
                engine_close(v_tenants[i:i], v_runs[i:i], v_kinds[i], NULL, v_now));
        END LOOP;
    END IF;
    RETURN v_count;
END
$$;

CREATE OR REPLACE FUNCTION engine_cut_off(p_limit int) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
    v_tenants int[];
    v_runs uuid[];
    v_count int := 0;
    d_tenants int[];
    d_runs uuid[];
    d_versions bigint[];
    d_ordinals int[];
    d_states text[];
BEGIN
    SELECT array_agg(d.tenant_id), array_agg(d.id) INTO v_tenants, v_runs FROM (
        SELECT r.tenant_id, r.id FROM run r
         WHERE r.finished_at IS NULL AND r.closing IS NOT NULL AND r.closing_at < v_now - interval '5 minutes'
           AND EXISTS (SELECT 1 FROM step_run s WHERE s.tenant_id = r.tenant_id AND s.run_id = r.id AND s.batch <> -2
                          AND s.state IN ('blocked', 'ready', 'waiting'))
         ORDER BY r.closing_at LIMIT p_limit) d;
    IF v_runs IS NOT NULL THEN
        PERFORM engine_lock(v_tenants);
        v_now := clock_timestamp();
        SELECT * INTO d_tenants, d_runs, d_versions, d_ordinals, d_states
          FROM engine_cancel_steps(v_tenants, v_runs, true, NULL, v_now);
        IF d_runs IS NOT NULL THEN
            PERFORM engine_propagate(d_tenants, d_runs, d_versions, d_ordinals, d_states, v_now);
            v_count := v_count + cardinality(v_runs);
        END IF;
        PERFORM engine_close_children(v_tenants, v_runs, true, NULL, v_now);
    END IF;
    RETURN v_count;
END
$$;
