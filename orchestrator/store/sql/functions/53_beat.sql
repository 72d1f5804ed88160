-- Purpose: write heartbeats of running steps: when each was last heard of, and the progress it told.
-- Guard:   counts only where the step is running, by this worker, with the same epoch.  It writes no
--          run state and takes no mutex: a beat that loses the race against its attempt's end is late
--          and harmless, and never covers one of a later claim.
-- Commits without waiting for the disk: a beat that is lost in the server's crash is followed by others.
CREATE OR REPLACE FUNCTION engine_beat(
    p_worker int, p_tenants int[], p_runs uuid[], p_ordinals int[], p_batches int[], p_epochs int[], p_progress text[]
) RETURNS void LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);
    INSERT INTO heartbeat AS h (run_id, ordinal, batch, tenant_id, epoch, at, progress)
    SELECT d.run_id, d.ordinal, d.batch, d.tenant_id, d.epoch, clock_timestamp(), d.progress
      FROM unnest(p_tenants, p_runs, p_ordinals, p_batches, p_epochs, p_progress)
           AS d (tenant_id, run_id, ordinal, batch, epoch, progress)
     CROSS JOIN LATERAL (
         SELECT 1 FROM step_run o
          WHERE o.tenant_id = d.tenant_id AND o.run_id = d.run_id AND o.ordinal = d.ordinal
            AND o.batch = d.batch AND o.epoch = d.epoch AND o.worker_id = p_worker
            AND coalesce(o.state, '') = 'running'
         OFFSET 0) s
     ORDER BY d.run_id, d.ordinal, d.batch
    ON CONFLICT (run_id, ordinal, batch) DO UPDATE
       SET epoch = excluded.epoch, at = excluded.at, progress = coalesce(excluded.progress, h.progress)
     WHERE h.epoch <= excluded.epoch;
END
$$;
