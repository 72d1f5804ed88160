-- Purpose: write lines of handlers (`ctx.log`), many attempts' together.
-- Order:   a run's lines are numbered under a lock of that run, which is held until they are committed:
--          within a run the order of ids is the order of commits, so whoever reads on behind an id
--          misses none.  The tenant's mutex is not taken: writers of other runs do not wait.
-- Guard:   none: what an attempt has logged is written, also when it was lost to another meanwhile.
--          `p_again`: an answer was lost, so what is there already is passed over.
-- Input:   parallel arrays.  `p_ages`: seconds since each was logged, by its process's clock.
-- Commits without waiting for the disk; the end of its attempt, written later, does wait.
CREATE OR REPLACE FUNCTION engine_log(
    p_tenants int[], p_runs uuid[], p_ordinals int[], p_batches int[], p_epochs int[], p_attempts int[], p_lines int[],
    p_ages double precision[], p_levels smallint[], p_messages text[], p_fields text[], p_again boolean
) RETURNS void LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    v_key int;
    v_now timestamptz;
    v_ids bigint[];
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);
    -- always in the same order, so that two writers never wait for each other
    FOR v_key IN SELECT DISTINCT hashtext(r::text) AS key FROM unnest(p_runs) AS r ORDER BY key LOOP
        PERFORM pg_advisory_xact_lock(19527, v_key);
    END LOOP;
    v_now := clock_timestamp();
    v_ids := engine_log_ids(cardinality(p_runs));
    INSERT INTO attempt_log (id, tenant_id, at, run_id, ordinal, batch, epoch, attempt, line, level, message, fields)
    SELECT g.id, g.tenant_id, v_now - g.age * interval '1 second', g.run_id, g.ordinal, g.batch, g.epoch, g.attempt,
           g.line, g.level, g.message, g.fields
      FROM unnest(v_ids, p_tenants, p_runs, p_ordinals, p_batches, p_epochs, p_attempts, p_lines, p_ages, p_levels,
                  p_messages, p_fields)
           AS g (id, tenant_id, run_id, ordinal, batch, epoch, attempt, line, age, level, message, fields)
     WHERE NOT p_again OR NOT EXISTS (
           SELECT 1 FROM attempt_log o
            WHERE o.run_id = g.run_id AND o.ordinal = g.ordinal AND o.tenant_id = g.tenant_id
              AND o.batch = g.batch AND o.epoch = g.epoch AND o.line = g.line);
END
$$;

-- Purpose: so many new ids for lines, growing.
-- Rights:  the owner's, whose the sequence is; workers alone may call it.
CREATE OR REPLACE FUNCTION engine_log_ids(p_count int) RETURNS bigint[] LANGUAGE sql VOLATILE
SECURITY DEFINER SET search_path FROM CURRENT AS $$
    SELECT array_agg(nextval('attempt_log_id') ORDER BY i) FROM generate_series(1, p_count) AS i
$$;
