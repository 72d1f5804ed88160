-- Purpose: hold runs, and let them go on: nothing new of a paused run starts; what runs, ends.
-- A pause is of a run (its state; its children are paused with it) or of a workflow (all its runs and
-- the runs under them, whatever their state); it ends for a run that closes.  What is ready when the pause begins is parked at once; what becomes ready
-- meanwhile (a child, a timer, a lost step) is parked by the claim that comes across it, so that no
-- other statement needs to know of pauses.  `tenant_load.paused_count` spares the claims of tenants
-- without a pause the question.
-- Index: run's key, step_run's key, step_run_parked, control's key, control_held.

-- Whether the workflow of the run, or of an open run above it, is paused: at most 20 look-ups by key.
CREATE OR REPLACE FUNCTION engine_workflow_paused(p_run uuid) RETURNS boolean LANGUAGE plpgsql STABLE
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    v_run record;
BEGIN
    SELECT w.paused_at, r.parent_id INTO v_run FROM run r JOIN workflow w ON w.id = r.workflow_id WHERE r.id = p_run;
    WHILE v_run.paused_at IS NULL AND v_run.parent_id IS NOT NULL LOOP
        SELECT w.paused_at, r.parent_id INTO v_run FROM run r JOIN workflow w ON w.id = r.workflow_id
         WHERE r.id = v_run.parent_id AND r.finished_at IS NULL;
    END LOOP;
    RETURN v_run.paused_at IS NOT NULL;
END
$$;

-- Whether nothing of the run may start.  A closing run is not paused: what may still run, may.
CREATE OR REPLACE FUNCTION engine_paused(p_run uuid) RETURNS boolean LANGUAGE plpgsql STABLE
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
BEGIN
    RETURN (SELECT r.closing IS NULL AND (r.state = 'paused' OR engine_workflow_paused(r.id))
              FROM run r WHERE r.id = p_run);
END
$$;

-- Of the steps that a claim is about to take, park those of paused runs.  Returns: how many.
-- Guard: under the tenants' mutexes.
CREATE OR REPLACE FUNCTION engine_park_paused(p_tids tid[]) RETURNS bigint LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    v_count bigint;
BEGIN
    WITH parked AS (
        UPDATE step_run s SET parked = 'paused'
          FROM unnest(p_tids) AS d (tid)
         WHERE s.ctid = d.tid AND engine_paused(s.run_id)
        RETURNING s.tenant_id
    ), load AS (
        UPDATE tenant_load l SET ready_count = l.ready_count - g.n
          FROM (SELECT tenant_id, count(*) AS n FROM parked GROUP BY tenant_id) g
         CROSS JOIN LATERAL (SELECT o.ctid AS tid FROM tenant_load o WHERE o.tenant_id = g.tenant_id OFFSET 0) o
         WHERE l.ctid = o.tid
    )
    SELECT count(*) INTO v_count FROM parked;
    RETURN v_count;
END
$$;

-- What was parked or held for a pause may be taken again.  Returns: the queues with work in them.
-- Guard: under the tenants' mutexes.
CREATE OR REPLACE FUNCTION engine_free(p_tenants int[], p_runs uuid[]) RETURNS text[] LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    v_queues text[];
BEGIN
    WITH freed AS (
        UPDATE step_run s SET parked = NULL
          FROM unnest(p_tenants, p_runs) AS d (tenant_id, run_id)
          CROSS JOIN LATERAL (
              SELECT p.ctid AS tid FROM step_run p
               WHERE p.tenant_id = d.tenant_id AND p.run_id = d.run_id
                 AND p.state = 'ready' AND p.parked IS NOT NULL AND p.parked = 'paused'
              OFFSET 0) p
         WHERE s.ctid = p.tid
        RETURNING s.tenant_id, s.queue
    ), back AS (
        UPDATE control c SET held = false, taken_at = NULL
          FROM unnest(p_runs) AS d (run_id)
          CROSS JOIN LATERAL (
              SELECT o.ctid AS tid FROM control o WHERE o.run_id = d.run_id AND o.held IS TRUE OFFSET 0) o
         WHERE c.ctid = o.tid
        RETURNING c.tenant_id, c.run_id, c.ordinal, c.batch
    ), asked AS (
        SELECT b.tenant_id, s.queue FROM back b
         CROSS JOIN LATERAL (
             SELECT o.queue FROM step_run o
              WHERE o.run_id = b.run_id AND o.ordinal = b.ordinal AND o.batch = b.batch OFFSET 0) s
    ), load AS (
        UPDATE tenant_load l SET ready_count = l.ready_count + g.ready, control_count = l.control_count + g.asked
          FROM (SELECT x.tenant_id, sum(x.ready) AS ready, sum(x.asked) AS asked FROM (
                    SELECT f.tenant_id, 1 AS ready, 0 AS asked FROM freed f
                    UNION ALL SELECT b.tenant_id, 0, 1 FROM back b) x GROUP BY x.tenant_id) g
         CROSS JOIN LATERAL (SELECT o.ctid AS tid FROM tenant_load o WHERE o.tenant_id = g.tenant_id OFFSET 0) o
         WHERE l.ctid = o.tid
    )
    SELECT coalesce(array_agg(DISTINCT q.queue), '{}') INTO v_queues
      FROM (SELECT f.queue FROM freed f UNION ALL SELECT a.queue FROM asked a) q;
    RETURN v_queues;
END
$$;

-- Paused runs become what they were: queued where nothing had started.  Their timeout goes on where
-- it stood, unless their workflow is paused too.  Returns: the runs that were paused.
-- Guard: under the tenants' mutexes.
CREATE OR REPLACE FUNCTION engine_unpause(p_tenants int[], p_runs uuid[], p_actor text, p_now timestamptz)
RETURNS uuid[] LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    v_runs uuid[];
BEGIN
    WITH base AS MATERIALIZED (
        SELECT l.tenant_id, l.seq FROM tenant_load l WHERE l.tenant_id = ANY (p_tenants)
    ), resumed AS (
        UPDATE run r SET
            state = CASE WHEN r.started_at IS NULL THEN 'queued' ELSE 'running' END,
            paused_at = NULL,
            expires_at = CASE WHEN o.waits THEN r.expires_at
                              ELSE least(r.deadline_at, p_now + r.resume_ms * interval '1 millisecond') END,
            resume_ms = CASE WHEN o.waits THEN r.resume_ms END
          FROM unnest(p_tenants, p_runs) AS d (tenant_id, run_id)
          CROSS JOIN LATERAL (
              SELECT q.ctid AS tid, engine_workflow_paused(q.id) AS waits FROM run q
               WHERE q.id = d.run_id AND (q.tenant_id = d.tenant_id) IS TRUE AND coalesce(q.state, '') = 'paused'
              OFFSET 0) o
         WHERE r.ctid = o.tid
        RETURNING r.tenant_id, r.id, r.state
    ), told AS (
        INSERT INTO event (tenant_id, seq, at, type, run_id, actor, data)
        SELECT d.tenant_id, (SELECT b.seq FROM base b WHERE b.tenant_id = d.tenant_id) + row_number() OVER (PARTITION BY d.tenant_id ORDER BY d.id),
               p_now, 'run.' || d.state, d.id, p_actor, '{"resumed":true}'
          FROM resumed d
    ), load AS (
        UPDATE tenant_load l SET seq = l.seq + g.n, paused_count = l.paused_count - g.n
          FROM (SELECT tenant_id, count(*) AS n FROM resumed GROUP BY tenant_id) g
         CROSS JOIN LATERAL (SELECT o.ctid AS tid FROM tenant_load o WHERE o.tenant_id = g.tenant_id OFFSET 0) o
         WHERE l.ctid = o.tid
    )
    SELECT coalesce(array_agg(d.id), '{}') INTO v_runs FROM resumed d;
    RETURN v_runs;
END
$$;

-- Pause runs of one tenant.  Returns: those that were paused now; others (terminal, closing, paused
-- already) are left alone.  Guard: takes the tenant's mutex.
CREATE OR REPLACE FUNCTION engine_pause(p_tenant int, p_runs uuid[], p_actor text) RETURNS uuid[] LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    v_now timestamptz;
    v_runs uuid[];
    v_children uuid[];
BEGIN
    PERFORM engine_lock(ARRAY[p_tenant]);
    v_now := clock_timestamp();
    WITH base AS MATERIALIZED (
        SELECT l.seq FROM tenant_load l WHERE l.tenant_id = p_tenant
    ), paused AS (
        UPDATE run r SET
            state = 'paused', paused_at = v_now, expires_at = r.deadline_at,
            -- a pause of the workflow has stopped the timeout before
            resume_ms = coalesce(r.resume_ms, (extract(epoch FROM r.expires_at - v_now) * 1000)::bigint)
          FROM unnest(p_runs) AS d (run_id)
          CROSS JOIN LATERAL (
              SELECT q.ctid AS tid FROM run q
               WHERE q.id = d.run_id AND (q.tenant_id = p_tenant) IS TRUE
                 AND coalesce(q.state, '') IN ('queued', 'running') AND q.closing IS NULL AND q.undo_state IS NULL
              OFFSET 0) o
         WHERE r.ctid = o.tid
        RETURNING r.id
    ), parked AS (
        UPDATE step_run s SET parked = 'paused'
          FROM paused d
          CROSS JOIN LATERAL (
              SELECT o.ctid AS tid FROM step_run o
               WHERE o.tenant_id = p_tenant AND o.run_id = d.id
                 AND coalesce(o.state, '') = 'ready' AND coalesce(o.parked, '') = ''
              OFFSET 0) o
         WHERE s.ctid = o.tid
        RETURNING s.tenant_id
    ), held AS (
        -- what a slice has taken it may decide still; the run's output is asked for again
        UPDATE control c SET held = true, epoch = c.epoch + 1
          FROM paused d
          CROSS JOIN LATERAL (
              SELECT o.ctid AS tid FROM control o
               WHERE o.run_id = d.id AND o.ordinal >= 0 AND o.taken_at IS NULL AND o.held IS NOT TRUE OFFSET 0) o
         WHERE c.ctid = o.tid
        RETURNING c.tenant_id
    ), told AS (
        INSERT INTO event (tenant_id, seq, at, type, run_id, actor)
        SELECT p_tenant, (SELECT b.seq FROM base b) + row_number() OVER (ORDER BY d.id), v_now, 'run.paused', d.id, p_actor
          FROM paused d
    ), load AS (
        UPDATE tenant_load l SET
            seq = l.seq + (SELECT count(*) FROM paused),
            paused_count = l.paused_count + (SELECT count(*) FROM paused),
            ready_count = l.ready_count - (SELECT count(*) FROM parked),
            control_count = l.control_count - (SELECT count(*) FROM held)
         WHERE l.tenant_id = p_tenant
    )
    SELECT coalesce(array_agg(d.id), '{}') INTO v_runs FROM paused d;
    v_children := engine_children_of(p_tenant, v_runs, NULL);
    IF cardinality(v_children) > 0 THEN
        PERFORM engine_pause(p_tenant, v_children, p_actor);
    END IF;
    RETURN v_runs;
END
$$;

-- Let paused runs of one tenant go on; one whose steps have all ended meanwhile ends now.
-- Returns: those that were resumed now; the queues to wake.  Guard: takes the tenant's mutex.
CREATE OR REPLACE FUNCTION engine_resume(p_tenant int, p_runs uuid[], p_actor text, OUT resumed uuid[], OUT wake text[])
LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    v_now timestamptz;
    v_free uuid[];
    v_children uuid[];
BEGIN
    PERFORM engine_lock(ARRAY[p_tenant]);
    v_now := clock_timestamp();
    wake := '{}';
    resumed := engine_unpause(array_fill(p_tenant, ARRAY[cardinality(p_runs)]), p_runs, p_actor, v_now);
    IF cardinality(resumed) = 0 THEN
        RETURN;
    END IF;
    SELECT array_agg(x) INTO v_free FROM unnest(resumed) AS x WHERE engine_paused(x) IS FALSE;
    IF v_free IS NOT NULL THEN
        wake := engine_hint(p_tenant, engine_free(array_fill(p_tenant, ARRAY[cardinality(v_free)]), v_free), v_now);
    END IF;
    PERFORM engine_finish(array_fill(p_tenant, ARRAY[cardinality(resumed)]), resumed, NULL, NULL, v_now);
    v_children := engine_children_of(p_tenant, resumed, NULL);
    IF cardinality(v_children) > 0 THEN
        wake := wake || (SELECT c.wake FROM engine_resume(p_tenant, v_children, p_actor) c);
    END IF;
END
$$;
