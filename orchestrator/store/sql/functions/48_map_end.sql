-- Purpose: end maps: make their outputs of those of their batches, and carry their ends on.
-- Guard:   under the tenants' mutexes; nothing of these maps is in flight.
-- The output is put together by engine_map_output: no process has to hold it.
CREATE OR REPLACE FUNCTION engine_map_end(
    p_tenants int[], p_runs uuid[], p_ordinals int[], p_now timestamptz
) RETURNS void LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    d_tenants int[];
    d_runs uuid[];
    d_versions bigint[];
    d_ordinals int[];
    d_states text[];
    x_tenants int[];
    x_runs uuid[];
    x_ordinals int[];
BEGIN
    WITH base AS MATERIALIZED (
        SELECT l.tenant_id, l.seq FROM tenant_load l WHERE l.tenant_id = ANY (p_tenants)
    ), map AS MATERIALIZED (
        SELECT m.*, v.fallback, b.bytes, b.chars, least(m.max_bytes, q.most) AS most
          FROM unnest(p_tenants, p_runs, p_ordinals) AS d (tenant_id, run_id, ordinal)
         CROSS JOIN LATERAL (
             SELECT o.*, o.ctid AS tid FROM map_state o
              WHERE o.run_id = d.run_id AND o.ordinal = d.ordinal OFFSET 0) m
         CROSS JOIN LATERAL (
             SELECT o.fallback FROM version_step o
              WHERE o.version_id = m.version_id AND o.ordinal = m.ordinal OFFSET 0) v
         CROSS JOIN LATERAL (
             SELECT o.max_payload_bytes AS most FROM quota o WHERE o.tenant_id = m.tenant_id OFFSET 0) q
         CROSS JOIN LATERAL (
             -- a large batch's row has a reference in place of its results
             SELECT coalesce(sum(octet_length(o.output)), 0) AS chars,
                    coalesce(sum(octet_length(o.output) + coalesce(p.size, 0)), 0) AS bytes
               FROM step_run o
               LEFT JOIN LATERAL (
                   SELECT x.size FROM payload x
                    WHERE x.id = CASE WHEN octet_length(o.output) = 39 AND left(o.output, 2) = '[' || chr(1)
                                      THEN substr(o.output, 3, 36)::uuid END OFFSET 0) p ON true
              WHERE m.collect AND m.closing IS NULL AND o.tenant_id = m.tenant_id AND o.run_id = m.run_id
                AND o.ordinal = m.ordinal AND o.batch > 0) b
    ), judged AS MATERIALIZED (
        SELECT m.*, m.closing IS NULL AND m.bytes > m.most AS large,
               CASE WHEN m.closing = 'cancel' THEN 'cancelled'
                    WHEN m.closing IS NULL AND m.bytes <= m.most THEN 'succeeded'
                    WHEN m.fallback IS NOT NULL THEN 'succeeded'
                    ELSE 'failed' END AS state
          FROM map m
    ), shaped AS MATERIALIZED (
        SELECT j.*,
               CASE WHEN j.large THEN json_build_object('code', 'invalid_output', 'message',
                        'the results cannot be kept: together they are larger than ' || j.most || ' bytes of JSON',
                        'type', null)::text
                    WHEN j.closing = 'failed' THEN j.error END AS told_error,
               CASE WHEN j.state <> 'succeeded' THEN NULL
                    WHEN j.large OR j.closing IS NOT NULL THEN j.fallback
                    WHEN NOT j.collect THEN
                        '{"total":' || j.total || ',"succeeded":' || j.done - j.failed || ',"failed":' || j.failed || '}'
                    ELSE engine_map_output(j.tenant_id, j.run_id, j.ordinal, j.chars) END AS output,
               CASE WHEN j.failed > 0 THEN (
                        SELECT '[' || string_agg(
                                   json_build_object('item_index', x.item_index, 'code', x.code, 'message', x.message)::text,
                                   ',' ORDER BY x.item_index) || ']'
                          FROM (
                            SELECT i.* FROM (
                                SELECT o.batch, o.error::json AS error FROM step_run o
                                 WHERE o.tenant_id = j.tenant_id AND o.run_id = j.run_id AND o.ordinal = j.ordinal
                                   AND o.batch > 0 AND o.error IS NOT NULL AND coalesce(o.state, '') IN ('failed', 'succeeded')
                                 ORDER BY o.batch LIMIT 100) o
                             CROSS JOIN LATERAL (
                                SELECT (k.value ->> 'item_index')::int AS item_index, k.value ->> 'code' AS code,
                                       k.value ->> 'message' AS message
                                  FROM json_array_elements(o.error -> 'items') AS k (value)
                                 UNION ALL
                                SELECT (o.batch - 1) * j.batch_size + g, o.error ->> 'code', o.error ->> 'message'
                                  FROM generate_series(0, least(j.batch_size, j.total - (o.batch - 1) * j.batch_size) - 1) AS g
                                 WHERE o.error -> 'items' IS NULL) i
                             ORDER BY i.item_index LIMIT 100) x) END AS told_errors
          FROM judged j
    ), done AS (
        UPDATE step_run s SET
            state = h.state,
            wait_reason = NULL,
            attempts = s.attempts + 1,
            output = h.output,
            error = h.told_error,
            handled = h.state = 'succeeded' AND h.told_error IS NOT NULL,
            finished_at = p_now
          FROM shaped h
         CROSS JOIN LATERAL (
             SELECT o.ctid AS tid FROM step_run o
              WHERE o.tenant_id = h.tenant_id AND o.run_id = h.run_id AND o.ordinal = h.ordinal AND o.batch = 0
                AND coalesce(o.state, '') = 'waiting' AND coalesce(o.wait_reason, '') = 'map' OFFSET 0) o
         WHERE s.ctid = o.tid
        RETURNING s.tenant_id, s.run_id, s.version_id, s.ordinal, s.state, s.attempts, s.error,
                  h.failed > 0 OR h.closing IS NOT NULL AS unwell
    ), ended AS (
        UPDATE map_state m SET finished_at = p_now, errors = h.told_errors FROM shaped h WHERE m.ctid = h.tid
    ), told AS (
        INSERT INTO event (tenant_id, seq, at, type, run_id, ordinal, batch, attempt, data)
        SELECT d.tenant_id, (SELECT b.seq FROM base b WHERE b.tenant_id = d.tenant_id)
               + row_number() OVER (PARTITION BY d.tenant_id ORDER BY d.run_id, d.ordinal),
               p_now, 'step.' || d.state, d.run_id, d.ordinal, 0, d.attempts, d.error
          FROM done d
    ), load AS (
        UPDATE tenant_load l SET seq = l.seq + g.n
          FROM (SELECT tenant_id, count(*) AS n FROM done GROUP BY tenant_id) g
         CROSS JOIN LATERAL (SELECT o.ctid AS tid FROM tenant_load o WHERE o.tenant_id = g.tenant_id OFFSET 0) o
         WHERE l.ctid = o.tid
    )
    SELECT array_agg(d.tenant_id), array_agg(d.run_id), array_agg(d.version_id), array_agg(d.ordinal), array_agg(d.state),
           array_agg(d.tenant_id) FILTER (WHERE d.over), array_agg(d.run_id) FILTER (WHERE d.over),
           array_agg(d.ordinal) FILTER (WHERE d.over)
      INTO d_tenants, d_runs, d_versions, d_ordinals, d_states, x_tenants, x_runs, x_ordinals
      FROM (SELECT o.*, o.unwell AND (o.state <> 'failed' OR NOT EXISTS (
                       SELECT 1 FROM version_call c
                        WHERE c.version_id = o.version_id AND c.ordinal = o.ordinal AND c.batch = -1)) AS over
              FROM done o) d;

    IF x_runs IS NOT NULL THEN
        PERFORM engine_map_drop(x_tenants, x_runs, x_ordinals);
    END IF;

    IF d_runs IS NOT NULL THEN
        PERFORM engine_propagate(d_tenants, d_runs, d_versions, d_ordinals, d_states, p_now);
    END IF;
END
$$;
