-- Purpose: outputs that nobody needs any more: runs that succeeded, of tenants that do not keep them
--          (quota.keep_outputs), of versions in which nothing can be undone.

-- Notes such runs for the clock, so that an end does not wait for it.  Guard: under the tenants' mutexes.
CREATE OR REPLACE FUNCTION engine_spend(p_tenants int[], p_runs uuid[]) RETURNS void LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
BEGIN
    INSERT INTO spent_run (run_id, tenant_id)
    SELECT d.run_id, d.tenant_id
      FROM unnest(p_tenants, p_runs) AS d (tenant_id, run_id)
     CROSS JOIN LATERAL (
         SELECT 1 FROM quota q WHERE q.tenant_id = d.tenant_id AND NOT q.keep_outputs OFFSET 0) q
     CROSS JOIN LATERAL (
         SELECT o.version_id FROM run o
          WHERE o.id = d.run_id AND (o.tenant_id = d.tenant_id) IS TRUE AND coalesce(o.state, '') = 'succeeded' OFFSET 0) r
     CROSS JOIN LATERAL (
         SELECT 1 FROM workflow_version o WHERE o.id = r.version_id AND NOT o.has_undo OFFSET 0) v
    ON CONFLICT DO NOTHING;
END
$$;

-- Drops them: of at most so many runs at a time, each under its tenant's mutex.  A run that goes on
-- again is left alone, and the payloads of its own input and output stay.  Returns: how many runs.
CREATE OR REPLACE FUNCTION engine_drop_outputs(p_limit int) RETURNS int LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    v_tenants int[];
    v_runs uuid[];
    v_kept text;
    v_count int := 0;
BEGIN
    SELECT array_agg(d.tenant_id), array_agg(d.run_id) INTO v_tenants, v_runs
      FROM (SELECT s.tenant_id, s.run_id FROM spent_run s ORDER BY s.run_id LIMIT p_limit) d;
    IF v_runs IS NULL THEN
        RETURN 0;
    END IF;
    PERFORM engine_lock(v_tenants);
    FOR i IN 1 .. cardinality(v_runs) LOOP
        UPDATE run r SET outputs_dropped_at = clock_timestamp()
         WHERE r.id = v_runs[i] AND coalesce(r.state, '') = 'succeeded'
        RETURNING r.input || coalesce(r.output, '') INTO v_kept;
        IF FOUND THEN
            -- a part of a map's output keeps what it refers to
            v_kept := v_kept || coalesce((
                SELECT string_agg(p.body, '') FROM payload p
                 WHERE p.run_id = v_runs[i] AND strpos(p.body, chr(1)) > 0 AND strpos(v_kept, chr(1) || p.id::text) > 0), '');
            UPDATE step_run s SET output = NULL, args = NULL
             WHERE s.tenant_id = v_tenants[i] AND s.run_id = v_runs[i] AND (s.output IS NOT NULL OR s.args IS NOT NULL);
            DELETE FROM payload p WHERE p.run_id = v_runs[i] AND strpos(v_kept, chr(1) || p.id::text) = 0;
            DELETE FROM heartbeat h WHERE h.run_id = v_runs[i];
            v_count := v_count + 1;
        END IF;
    END LOOP;
    DELETE FROM spent_run s USING unnest(v_runs) AS d (run_id) WHERE s.run_id = d.run_id;
    RETURN v_count;
END
$$;
