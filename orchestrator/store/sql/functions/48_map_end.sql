-- Purpose: end maps: make their outputs of those of their batches, and carry their ends on.
-- Guard:   under the tenants' mutexes; nothing of these maps is in flight.
-- The output is put together here, as text: no process has to hold it.  Items of a batch stand in the
-- order that its worker gave them.
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
BEGIN
    WITH base AS MATERIALIZED (
        SELECT l.tenant_id, l.seq FROM tenant_load l WHERE l.tenant_id = ANY (p_tenants)
    ), map AS MATERIALIZED (
        SELECT m.*, v.fallback, b.bytes
          FROM unnest(p_tenants, p_runs, p_ordinals) AS d (tenant_id, run_id, ordinal)
         CROSS JOIN LATERAL (
             SELECT o.*, o.ctid AS tid FROM map_state o
              WHERE o.run_id = d.run_id AND o.ordinal = d.ordinal OFFSET 0) m
         CROSS JOIN LATERAL (
             SELECT o.fallback FROM version_step o
              WHERE o.version_id = m.version_id AND o.ordinal = m.ordinal OFFSET 0) v
         CROSS JOIN LATERAL (
             SELECT coalesce(sum(octet_length(o.output)), 0) AS bytes FROM step_run o
              WHERE m.collect AND m.closing IS NULL AND o.tenant_id = m.tenant_id AND o.run_id = m.run_id
                AND o.ordinal = m.ordinal AND o.batch > 0) b
    ), judged AS MATERIALIZED (
        SELECT m.*, m.closing IS NULL AND m.bytes > m.max_bytes AS large,
               CASE WHEN m.closing = 'cancel' THEN 'cancelled'
                    WHEN m.closing IS NULL AND m.bytes <= m.max_bytes THEN 'succeeded'
                    WHEN m.fallback IS NOT NULL THEN 'succeeded'
                    ELSE 'failed' END AS state
          FROM map m
    ), shaped AS MATERIALIZED (
        SELECT j.*,
               CASE WHEN j.large THEN json_build_object('code', 'invalid_output', 'message',
                        'the results cannot be kept: together they are larger than ' || j.max_bytes || ' bytes of JSON',
                        'type', null)::text
                    WHEN j.closing = 'failed' THEN j.error END AS told_error,
               CASE WHEN j.state <> 'succeeded' THEN NULL
                    WHEN j.large OR j.closing IS NOT NULL THEN j.fallback
                    WHEN NOT j.collect THEN
                        '{"total":' || j.total || ',"succeeded":' || j.done - j.failed || ',"failed":' || j.failed || '}'
                    ELSE '[' || coalesce((
                        SELECT string_agg(
                                   CASE WHEN o.state = 'succeeded' THEN substr(o.output, 2, length(o.output) - 2)
                                        ELSE substr(repeat(',null', least(j.batch_size, j.total - (o.batch - 1) * j.batch_size)), 2) END,
                                   ',' ORDER BY CASE WHEN NOT j.ordered THEN o.finished_at END, o.batch)
                          FROM step_run o
                         WHERE o.tenant_id = j.tenant_id AND o.run_id = j.run_id AND o.ordinal = j.ordinal
                           AND o.batch > 0), '') || ']' END AS output,
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
            attempts = 1,
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
        RETURNING s.tenant_id, s.run_id, s.version_id, s.ordinal, s.state, s.error
    ), ended AS (
        UPDATE map_state m SET finished_at = p_now, errors = h.told_errors FROM shaped h WHERE m.ctid = h.tid
    ), told AS (
        INSERT INTO event (tenant_id, seq, at, type, run_id, ordinal, batch, attempt, data)
        SELECT d.tenant_id, (SELECT b.seq FROM base b WHERE b.tenant_id = d.tenant_id)
               + row_number() OVER (PARTITION BY d.tenant_id ORDER BY d.run_id, d.ordinal),
               p_now, 'step.' || d.state, d.run_id, d.ordinal, 0, 1, d.error
          FROM done d
    ), load AS (
        UPDATE tenant_load l SET seq = l.seq + g.n
          FROM (SELECT tenant_id, count(*) AS n FROM done GROUP BY tenant_id) g
         CROSS JOIN LATERAL (SELECT o.ctid AS tid FROM tenant_load o WHERE o.tenant_id = g.tenant_id OFFSET 0) o
         WHERE l.ctid = o.tid
    )
    SELECT array_agg(d.tenant_id), array_agg(d.run_id), array_agg(d.version_id), array_agg(d.ordinal), array_agg(d.state)
      INTO d_tenants, d_runs, d_versions, d_ordinals, d_states
      FROM done d;

    IF d_runs IS NOT NULL THEN
        PERFORM engine_propagate(d_tenants, d_runs, d_versions, d_ordinals, d_states, p_now);
    END IF;
END
$$;
