-- Purpose: make runs of one tenant, one or ten thousand, with their step runs, in one statement each.
-- Guard:   takes the tenant's mutex; a key that is known makes nothing and answers its first run.
-- Input:   parallel arrays; p_keys may hold nulls; p_labels is JSON text; deadlines may be null.  The
--          next five are null where no run has what they say: when it may start, its concurrency key,
--          and of a child run its parent, the parent's step, and how many runs are above it.
--          p_traces: whose traces the runs belong to (traceparent), null where none is traced.
--          p_origin: where it was asked from, null for what nobody asked for (the audit log then says
--          nothing); with the names of the runs' workflows each has its own entry, else all have one.
-- Returns: a row per entry: its run (the first one where the key was known), whether it was
--          replayed, whether the known fingerprint is the same, when it was made; the queues to wake (same in each);
--          `held`: why it must wait before its first step (start_at, concurrency), or reject or quota: it
--          was not made; `over`: of the quota, JSON of its name, value, use and when to try again.
CREATE OR REPLACE FUNCTION engine_submit(
    p_tenant int, p_ids uuid[], p_versions bigint[], p_inputs text[], p_labels text[],
    p_priorities smallint[], p_deadlines timestamptz[], p_keys text[], p_fingerprints text[], p_actor text,
    p_starts timestamptz[] DEFAULT NULL, p_concurrency text[] DEFAULT NULL, p_parents uuid[] DEFAULT NULL,
    p_parent_ordinals int[] DEFAULT NULL, p_depths smallint[] DEFAULT NULL,
    p_origin text DEFAULT NULL, p_workflows text[] DEFAULT NULL, p_traces text[] DEFAULT NULL
) RETURNS TABLE (
    idx int, run_id uuid, replayed boolean, same boolean, created_at timestamptz, wake text[], held text, over text
) LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
#variable_conflict use_column
DECLARE
    v_us bigint;
    v_now timestamptz;
    v_seq bigint;
    v_wake text[];
    v_new int[];
    v_ids uuid[];
    v_held text[];
    v_quota record;
    v_over text;
    v_keyed boolean := EXISTS (SELECT 1 FROM unnest(p_keys) AS k WHERE k IS NOT NULL);
BEGIN
    SELECT l.seq INTO v_seq FROM tenant_load l WHERE l.tenant_id = p_tenant FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        INSERT INTO tenant_load (tenant_id) VALUES (p_tenant) ON CONFLICT DO NOTHING;
        PERFORM 1 FROM tenant_load l WHERE l.tenant_id = p_tenant FOR NO KEY UPDATE;
    END IF;
    SELECT l.seq INTO v_seq FROM tenant_load l WHERE l.tenant_id = p_tenant;
    v_now := clock_timestamp();
    v_us := engine_micros(v_now);

    IF v_keyed THEN
        WITH given AS (
            SELECT k.idx, k.id, v.workflow_id, k.key, k.fingerprint
              FROM unnest(p_ids, p_versions, p_keys, p_fingerprints) WITH ORDINALITY
                   AS k (id, version_id, key, fingerprint, idx)
              CROSS JOIN LATERAL (
                  SELECT o.workflow_id FROM workflow_version o
                   WHERE o.id = k.version_id AND (o.tenant_id = p_tenant) IS TRUE OFFSET 0) v
             WHERE k.key IS NOT NULL
        ), made AS (
            INSERT INTO idempotency_key (tenant_id, workflow_id, key, fingerprint, run_id, created_at)
            SELECT p_tenant, g.workflow_id, g.key, g.fingerprint, g.id, v_now
              FROM given g ORDER BY g.workflow_id, g.key, g.idx
            ON CONFLICT DO NOTHING
            RETURNING run_id
        )
        SELECT array_agg(k.idx::int) INTO v_new
          FROM unnest(p_ids, p_keys) WITH ORDINALITY AS k (id, key, idx)
         WHERE k.key IS NULL OR k.id IN (SELECT m.run_id FROM made m);
        v_new := coalesce(v_new, '{}');
    ELSE
        SELECT array_agg(i) INTO v_new FROM generate_series(1, cardinality(p_ids)) AS i;
    END IF;

    IF p_starts IS NOT NULL OR p_concurrency IS NOT NULL THEN
        v_held := engine_admit(p_tenant, v_new, p_versions, p_starts, p_concurrency, v_now);
        IF 'reject' = ANY (v_held) THEN
            DELETE FROM idempotency_key k
             WHERE k.tenant_id = p_tenant AND k.run_id IN (SELECT p_ids[n.i] FROM unnest(v_new) AS n (i) WHERE v_held[n.i] = 'reject')
               AND k.key = ANY (p_keys);
            SELECT coalesce(array_agg(n.i), '{}') INTO v_new
              FROM unnest(v_new) AS n (i) WHERE v_held[n.i] IS DISTINCT FROM 'reject';
        END IF;
    END IF;

    -- a child was accepted with its parent
    IF p_parents IS NULL AND cardinality(v_new) > 0 AND EXISTS (
        SELECT 1 FROM quota q
         WHERE q.tenant_id = p_tenant AND num_nonnulls(q.max_active_runs, q.max_waiting_steps,
                                                       q.submissions_per_minute, q.max_storage_bytes) > 0) THEN
        SELECT q.* INTO v_quota FROM engine_quota(p_tenant, v_new, p_versions, v_held, v_now) q;
        IF v_quota.room < cardinality(v_new) THEN
            v_over := json_build_object('quota', v_quota.quota, 'value', v_quota.value, 'use', v_quota.use,
                                        'retry_after', v_quota.retry_s)::text;
            IF v_keyed THEN
                DELETE FROM idempotency_key k
                 WHERE k.tenant_id = p_tenant AND k.key = ANY (p_keys)
                   AND k.run_id IN (SELECT p_ids[n.i] FROM unnest(v_new[v_quota.room + 1:]) AS n (i));
            END IF;
            v_new := v_new[:v_quota.room];
        END IF;
    END IF;

    IF cardinality(v_new) > 0 THEN
        WITH made AS (
            INSERT INTO run (id, tenant_id, workflow_id, version_id, state, priority, labels, input, created_at,
                             deadline_at, expires_at, timeout_ms, fail_fast, max_parallel, step_count, open_count,
                             start_at, held, concurrency_key, parent_id, parent_ordinal, depth, trace)
            SELECT p_ids[i], p_tenant, v.workflow_id, v.id, 'queued', coalesce(p_priorities[i], v.priority),
                   p_labels[i]::jsonb, p_inputs[i], v_now, p_deadlines[i], p_deadlines[i],
                   v.timeout_ms, v.fail_fast, v.max_parallel, v.step_count, v.step_count,
                   p_starts[i], v_held[i], p_concurrency[i], p_parents[i], p_parent_ordinals[i], coalesce(p_depths[i], 0),
                   p_traces[i]
              FROM unnest(v_new) AS n (i)
              CROSS JOIN LATERAL (
                  SELECT o.* FROM workflow_version o
                   WHERE o.id = p_versions[i] AND (o.tenant_id = p_tenant) IS TRUE OFFSET 0) v
            RETURNING id
        )
        SELECT array_agg(m.id) INTO v_ids FROM made m;

        WITH told AS (
            INSERT INTO event (tenant_id, seq, at, type, run_id, actor)
            SELECT p_tenant, v_seq + n.nr, v_now, 'run.queued', p_ids[n.i], p_actor
              FROM unnest(v_new) WITH ORDINALITY AS n (i, nr)
        ), made AS (
            INSERT INTO step_run (tenant_id, run_id, ordinal, batch, version_id, handler_id, queue, pool, rule, state,
                                  parked, control, limited, rank, priority, parents_total, parents_left, ready_at)
            SELECT p_tenant, p_ids[n.i], s.ordinal, 0, s.version_id, s.handler_id, s.queue, s.pool, s.rule,
                   CASE WHEN s.root THEN 'ready' ELSE 'blocked' END,
                   CASE WHEN s.root AND s.control THEN 'control' END,
                   s.control, v.max_parallel IS NOT NULL,
                   CASE WHEN s.root THEN v_us - coalesce(p_priorities[n.i], v.priority) * 60000000::bigint ELSE 0 END,
                   coalesce(p_priorities[n.i], v.priority),
                   cardinality(s.parents), cardinality(s.parents),
                   CASE WHEN s.root THEN v_now END
              FROM unnest(v_new) AS n (i)
              CROSS JOIN LATERAL (
                  SELECT o.priority, o.max_parallel FROM workflow_version o WHERE o.id = p_versions[n.i] OFFSET 0) v
              CROSS JOIN LATERAL (
                  SELECT o.*, o.parents = '{}' AND v_held[n.i] IS NULL AS root
                    FROM version_step o WHERE o.version_id = p_versions[n.i] OFFSET 0) s
            RETURNING run_id, ordinal, state, parked, queue
        ), root AS (
            SELECT m.*, row_number() OVER (ORDER BY m.run_id, m.ordinal) AS nr FROM made m WHERE m.state = 'ready'
        ), told_roots AS (
            INSERT INTO event (tenant_id, seq, at, type, run_id, ordinal, batch)
            SELECT p_tenant, v_seq + cardinality(v_new) + r.nr, v_now, 'step.ready', r.run_id, r.ordinal, 0 FROM root r
        ), asked AS (
            INSERT INTO control (tenant_id, run_id, ordinal, batch, kind, created_at)
            SELECT p_tenant, r.run_id, r.ordinal, 0, 'condition', v_now FROM root r WHERE r.parked = 'control'
        ), load AS (
            UPDATE tenant_load l SET
                seq = v_seq + cardinality(v_new) + (SELECT count(*) FROM root),
                active_runs = l.active_runs + cardinality(v_new),
                ready_count = l.ready_count + (SELECT count(*) FROM root WHERE parked IS NULL),
                control_count = l.control_count + (SELECT count(*) FROM root WHERE parked = 'control')
             WHERE l.tenant_id = p_tenant
        )
        SELECT array_agg(DISTINCT r.queue) INTO v_wake FROM root r;
        IF 'concurrency' = ANY (v_held) THEN
            PERFORM engine_make_room(p_tenant, v_ids, p_actor, v_now);
            SELECT coalesce(v_wake, '{}') || coalesce(array_agg(DISTINCT s.queue), '{}') INTO v_wake
              FROM unnest(v_ids) AS d (run_id)
              CROSS JOIN LATERAL (
                  SELECT o.queue FROM step_run o
                   WHERE o.tenant_id = p_tenant AND o.run_id = d.run_id AND coalesce(o.state, '') = 'ready' OFFSET 0) s;
        END IF;
        v_wake := engine_hint(p_tenant, v_wake, v_now);
        IF p_origin IS NOT NULL AND p_workflows IS NOT NULL THEN
            INSERT INTO audit_entry (tenant_id, at, actor, action, target, after, origin)
            SELECT p_tenant, v_now, coalesce(p_actor, 'system'), 'run.submitted', p_ids[n.i]::text,
                   jsonb_build_object('workflow', p_workflows[n.i]), p_origin
              FROM unnest(v_new) AS n (i);
        ELSIF p_origin IS NOT NULL THEN
            INSERT INTO audit_entry (tenant_id, at, actor, action, target, after, origin)
            VALUES (p_tenant, v_now, coalesce(p_actor, 'system'), 'run.submitted', '',
                    jsonb_build_object('runs', cardinality(v_new)), p_origin);
        END IF;
    END IF;

    RETURN QUERY
        SELECT k.idx::int, coalesce(i.run_id, k.id), i.run_id IS NOT NULL AND i.run_id <> k.id,
               i.fingerprint IS NULL OR i.fingerprint = k.fingerprint,
               CASE WHEN i.run_id IS NULL OR i.run_id = k.id THEN v_now END, v_wake,
               CASE WHEN v_held IS NULL AND v_over IS NULL OR i.run_id <> k.id THEN NULL
                    WHEN k.idx::int = ANY (v_new) THEN v_held[k.idx::int]
                    WHEN v_over IS NULL OR v_held[k.idx::int] = 'reject' THEN 'reject' ELSE 'quota' END,
               v_over
          FROM unnest(p_ids, p_versions, p_keys, p_fingerprints) WITH ORDINALITY
               AS k (id, version_id, key, fingerprint, idx)
          LEFT JOIN LATERAL (
              SELECT o.workflow_id FROM workflow_version o
               WHERE k.key IS NOT NULL AND o.id = k.version_id OFFSET 0) v ON true
          LEFT JOIN LATERAL (
              SELECT o.run_id, o.fingerprint FROM idempotency_key o
               WHERE o.tenant_id = p_tenant AND o.workflow_id = v.workflow_id AND o.key = k.key OFFSET 0) i ON true;
END
$$;
