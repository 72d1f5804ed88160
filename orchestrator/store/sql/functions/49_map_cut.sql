-- Purpose: the runs of these maps close: no batch starts any more.  Maps of which nothing runs end
--          now; the others when their last batch does.
-- Guard:   under the tenants' mutexes; rows that had not started are cancelled already.
-- Returns: the steps that ended, for engine_propagate.
CREATE OR REPLACE FUNCTION engine_map_cut(
    p_tenants int[], p_runs uuid[], p_always boolean, p_actor text, p_now timestamptz,
    OUT o_tenants int[], OUT o_runs uuid[], OUT o_versions bigint[], OUT o_ordinals int[], OUT o_states text[]
) LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    k_runs uuid[];
    k_ordinals int[];
BEGIN
    -- of those too that failed and wait for their compensation
    DELETE FROM map_pack p USING unnest(p_tenants, p_runs) AS d (tenant_id, run_id)
     CROSS JOIN LATERAL (
         SELECT o.ctid AS tid, o.ordinal FROM map_pack o WHERE o.run_id = d.run_id OFFSET 0) o
     CROSS JOIN LATERAL (
         SELECT 1 FROM step_run x
          WHERE x.tenant_id = d.tenant_id AND x.run_id = d.run_id AND x.ordinal = o.ordinal AND x.batch = 0
            AND (p_always OR x.rule <> 'always') OFFSET 0) s
     WHERE p.ctid = o.tid;

    WITH cut AS (
        UPDATE map_state m SET
            closing = coalesce(m.closing, 'cancel'),
            in_flight = x.batches,
            source = CASE WHEN m.source IS NULL THEN NULL WHEN x.reads > 0 THEN 'active' ELSE 'done' END
          FROM unnest(p_tenants, p_runs) AS d (tenant_id, run_id)
         CROSS JOIN LATERAL (
             SELECT o.ctid AS tid, o.ordinal FROM map_state o
              WHERE o.run_id = d.run_id AND (o.tenant_id = d.tenant_id) IS TRUE AND o.finished_at IS NULL OFFSET 0) m2
         CROSS JOIN LATERAL (
             SELECT 1 FROM step_run o
              WHERE o.tenant_id = d.tenant_id AND o.run_id = d.run_id AND o.ordinal = m2.ordinal AND o.batch = 0
                AND (p_always OR o.rule <> 'always') OFFSET 0) s
         CROSS JOIN LATERAL (
             SELECT (count(*) FILTER (WHERE o.batch > 0))::int AS batches, count(*) FILTER (WHERE o.batch = -3) AS reads
               FROM step_run o
              WHERE o.tenant_id = d.tenant_id AND o.run_id = d.run_id AND o.ordinal = m2.ordinal
                AND (o.batch > 0 OR o.batch = -3) AND coalesce(o.state, '') = 'running' OFFSET 0) x
         WHERE m.ctid = m2.tid
        RETURNING m.run_id, m.ordinal
    )
    SELECT array_agg(c.run_id), array_agg(c.ordinal) INTO k_runs, k_ordinals FROM cut c;
    IF k_runs IS NULL THEN
        RETURN;
    END IF;
    WITH base AS MATERIALIZED (
        SELECT l.tenant_id, l.seq FROM tenant_load l WHERE l.tenant_id = ANY (p_tenants)
    ), over AS (
        UPDATE map_state m SET finished_at = p_now
          FROM unnest(k_runs, k_ordinals) AS d (run_id, ordinal)
         CROSS JOIN LATERAL (
             SELECT o.ctid AS tid FROM map_state o
              WHERE o.run_id = d.run_id AND o.ordinal = d.ordinal AND o.in_flight = 0
                AND coalesce(o.source, 'done') = 'done' OFFSET 0) o
         WHERE m.ctid = o.tid
        RETURNING m.tenant_id, m.run_id, m.ordinal
    ), done AS (
        UPDATE step_run s SET state = 'cancelled', wait_reason = NULL, finished_at = p_now
          FROM over v
         CROSS JOIN LATERAL (
             SELECT o.ctid AS tid FROM step_run o
              WHERE o.tenant_id = v.tenant_id AND o.run_id = v.run_id AND o.ordinal = v.ordinal AND o.batch = 0
                AND coalesce(o.state, '') = 'waiting' OFFSET 0) o
         WHERE s.ctid = o.tid
        RETURNING s.tenant_id, s.run_id, s.version_id, s.ordinal
    ), told AS (
        INSERT INTO event (tenant_id, seq, at, type, run_id, ordinal, batch, actor)
        SELECT d.tenant_id, (SELECT b.seq FROM base b WHERE b.tenant_id = d.tenant_id)
               + row_number() OVER (PARTITION BY d.tenant_id ORDER BY d.run_id, d.ordinal),
               p_now, 'step.cancelled', d.run_id, d.ordinal, 0, p_actor
          FROM done d
    ), load AS (
        UPDATE tenant_load l SET seq = l.seq + g.n
          FROM (SELECT tenant_id, count(*) AS n FROM done GROUP BY tenant_id) g
         CROSS JOIN LATERAL (SELECT o.ctid AS tid FROM tenant_load o WHERE o.tenant_id = g.tenant_id OFFSET 0) o
         WHERE l.ctid = o.tid
    )
    SELECT array_agg(d.tenant_id), array_agg(d.run_id), array_agg(d.version_id), array_agg(d.ordinal),
           array_agg('cancelled'::text)
      INTO o_tenants, o_runs, o_versions, o_ordinals, o_states
      FROM done d;
END
$$;
