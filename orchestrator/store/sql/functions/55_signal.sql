-- Purpose: steps that have begun to wait for a signal take what was sent before, first in, first out.
-- Guard:   under the tenants' mutexes.  Index: signal_of_run.
CREATE OR REPLACE FUNCTION engine_take(
    p_tenants int[], p_runs uuid[], p_ordinals int[], p_names text[], p_now timestamptz
) RETURNS text[] LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    v_ids bigint[];
    v_tenants int[];
    v_runs uuid[];
    v_ordinals int[];
    v_names text[];
    v_payloads text[];
BEGIN
    SELECT array_agg(s.id), array_agg(a.tenant_id), array_agg(a.run_id), array_agg(a.ordinal), array_agg(a.name),
           array_agg(s.payload)
      INTO v_ids, v_tenants, v_runs, v_ordinals, v_names, v_payloads
      FROM (SELECT d.*, row_number() OVER (PARTITION BY d.run_id, d.name ORDER BY d.ordinal) AS nr
              FROM unnest(p_tenants, p_runs, p_ordinals, p_names) AS d (tenant_id, run_id, ordinal, name)) a
      CROSS JOIN LATERAL (
          SELECT o.id, o.payload FROM signal o
           WHERE (o.tenant_id = a.tenant_id) IS TRUE AND o.run_id = a.run_id AND o.name = a.name
             AND o.taken_at IS NULL
           ORDER BY o.id OFFSET a.nr - 1 LIMIT 1) s;
    IF v_ids IS NULL THEN
        RETURN '{}';
    END IF;
    -- one with a dedup key stays, to be known again
    UPDATE signal s SET taken_at = p_now, payload = NULL
     WHERE s.id = ANY (v_ids) AND s.dedup_key IS NOT NULL;
    DELETE FROM signal s WHERE s.id = ANY (v_ids) AND s.dedup_key IS NULL;
    RETURN engine_ended(v_tenants, v_runs, v_ordinals, v_names, v_payloads,
                        array_fill(NULL::text, ARRAY[cardinality(v_ids)]), p_now);
END
$$;

-- Purpose: a signal comes: the step that waits for it takes it, or it is kept until one does.
-- Guard:   takes the tenant's mutex: a timer that fired before has ended the wait, one after finds none.
-- Input:   p_ordinals: the run's steps that take this signal; p_most: how many may be kept for a run.
-- Returns: taken, kept, known (the dedup key was used), full, or the run's terminal state; `wake`.
CREATE OR REPLACE FUNCTION engine_signal(
    p_tenant int, p_run uuid, p_name text, p_ordinals int[], p_payload text, p_dedup text, p_most int,
    p_actor text, OUT outcome text, OUT wake text[]
) LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    v_now timestamptz;
    v_state text;
    v_id bigint;
    v_ordinal int;
BEGIN
    PERFORM engine_lock(ARRAY[p_tenant]);
    v_now := clock_timestamp();
    wake := '{}';
    IF p_dedup IS NOT NULL AND EXISTS (
        SELECT 1 FROM signal o WHERE o.run_id = p_run AND o.name = p_name AND o.dedup_key = p_dedup) THEN
        outcome := 'known';
        RETURN;
    END IF;
    SELECT CASE WHEN r.finished_at IS NOT NULL THEN r.state END INTO v_state
      FROM run r WHERE r.id = p_run AND (r.tenant_id = p_tenant) IS TRUE;
    IF v_state IS NOT NULL THEN
        outcome := v_state;
        RETURN;
    END IF;
    SELECT s.ordinal INTO v_ordinal
      FROM unnest(p_ordinals) AS d (ordinal)
      CROSS JOIN LATERAL (
          SELECT o.ordinal FROM step_run o
           WHERE o.tenant_id = p_tenant AND o.run_id = p_run AND o.ordinal = d.ordinal AND o.batch = 0
             AND coalesce(o.state, '') = 'waiting' AND o.wait_reason = 'signal' AND o.wait_key = p_name
          OFFSET 0) s
     ORDER BY s.ordinal LIMIT 1;
    IF v_ordinal IS NULL AND p_most <= (
        SELECT count(*) FROM (SELECT 1 FROM signal o WHERE o.run_id = p_run AND o.taken_at IS NULL LIMIT p_most) x) THEN
        outcome := 'full';
        RETURN;
    END IF;
    IF v_ordinal IS NULL OR p_dedup IS NOT NULL THEN
        INSERT INTO signal (tenant_id, run_id, name, dedup_key, payload, received_at, taken_at)
        VALUES (p_tenant, p_run, p_name, p_dedup, CASE WHEN v_ordinal IS NULL THEN p_payload END, v_now,
                CASE WHEN v_ordinal IS NOT NULL THEN v_now END);
    END IF;
    UPDATE tenant_load SET seq = seq + 1 WHERE tenant_id = p_tenant;
    INSERT INTO event (tenant_id, seq, at, type, run_id, ordinal, batch, actor, data)
    SELECT p_tenant, l.seq, v_now, 'signal.received', p_run, v_ordinal, 0, p_actor,
           json_build_object('name', p_name, 'dedup_key', p_dedup, 'kept', v_ordinal IS NULL)::text
      FROM tenant_load l WHERE l.tenant_id = p_tenant;
    outcome := 'kept';
    IF v_ordinal IS NOT NULL THEN
        outcome := 'taken';
        wake := engine_ended(ARRAY[p_tenant], ARRAY[p_run], ARRAY[v_ordinal], ARRAY[p_name], ARRAY[p_payload],
                             ARRAY[NULL::text], v_now);
        wake := engine_hint(p_tenant, wake, v_now);
    END IF;
END
$$;
