-- Purpose: make the child runs that steps wait for, with their parents' priority and labels.
-- Guard:   under the tenants' mutexes; the steps already wait for these ids.
-- A child that its workflow's `concurrency` refuses is not made: its step is told so.  One whose
-- place is held by a run above it shares that place, since it would else wait for itself.  One whose
-- parent was paused while a slice decided its step is paused too.
CREATE OR REPLACE FUNCTION engine_begin_children(
    p_tenants int[], p_runs uuid[], p_ordinals int[], p_ids text[], p_versions bigint[], p_inputs text[],
    p_concurrency text[], p_now timestamptz
) RETURNS void LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    v_tenant int;
    v_all record;
    v_refused uuid[];
BEGIN
    FOR v_tenant IN SELECT DISTINCT t FROM unnest(p_tenants) AS t LOOP
        SELECT array_agg(c.id::uuid) AS ids, array_agg(c.version_id) AS versions, array_agg(c.input) AS inputs,
               array_agg(r.labels::text) AS labels, array_agg(r.priority) AS priorities,
               array_agg(CASE WHEN above.shares THEN NULL ELSE c.key END) AS keys,
               -- the step that waits is the parent of the child's span (domain/traces.py)
               array_agg(left(r.trace, 36) || left(md5(c.run_id::text || ':' || c.ordinal || ':0'), 16)
                         || right(r.trace, 3)) AS traces,
               array_agg(c.run_id) AS parents, array_agg(c.ordinal) AS ordinals,
               array_agg((r.depth + 1)::smallint) AS depths,
               array_agg(c.id::uuid) FILTER (WHERE r.state = 'paused') AS paused
          INTO v_all
          FROM unnest(p_tenants, p_runs, p_ordinals, p_ids, p_versions, p_inputs, p_concurrency)
               AS c (tenant_id, run_id, ordinal, id, version_id, input, key)
          CROSS JOIN LATERAL (
              SELECT o.labels, o.priority, o.depth, o.state, o.trace FROM run o WHERE o.id = c.run_id OFFSET 0) r
          CROSS JOIN LATERAL (
              WITH RECURSIVE up AS (
                  SELECT o.parent_id, o.workflow_id, o.concurrency_key FROM run o
                   WHERE c.key IS NOT NULL AND o.id = c.run_id
                  UNION ALL
                  SELECT o.parent_id, o.workflow_id, o.concurrency_key FROM up
                   CROSS JOIN LATERAL (SELECT x.* FROM run x WHERE x.id = up.parent_id OFFSET 0) o
              )
              SELECT EXISTS (
                  SELECT 1 FROM up WHERE up.concurrency_key = c.key AND up.workflow_id = (
                      SELECT v.workflow_id FROM workflow_version v WHERE v.id = c.version_id)) AS shares) above
         WHERE c.tenant_id = v_tenant;
        SELECT array_agg(m.run_id) INTO v_refused
          FROM engine_submit(
              v_tenant, v_all.ids, v_all.versions, v_all.inputs, v_all.labels, v_all.priorities,
              array_fill(NULL::timestamptz, ARRAY[cardinality(v_all.ids)]),
              array_fill(NULL::text, ARRAY[cardinality(v_all.ids)]),
              array_fill(NULL::text, ARRAY[cardinality(v_all.ids)]), NULL,
              NULL, v_all.keys, v_all.parents, v_all.ordinals, v_all.depths,
              p_traces => v_all.traces) m
         WHERE m.held = 'reject';
        IF v_all.paused IS NOT NULL THEN
            PERFORM engine_pause(v_tenant, v_all.paused, NULL);
        END IF;
        IF v_refused IS NOT NULL THEN
            PERFORM engine_ended(
                array_agg(v_tenant), array_agg(v_all.parents[i]), array_agg(v_all.ordinals[i]),
                array_agg(v_all.ids[i]::text), array_agg(NULL::text),
                array_agg('{"code":"upstream","message":"The child run was refused: as many runs with its concurrency key are running as may.","type":null}'::text),
                p_now)
               FROM generate_subscripts(v_all.ids, 1) AS i WHERE v_all.ids[i] = ANY (v_refused);
        END IF;
    END LOOP;
END
$$;
