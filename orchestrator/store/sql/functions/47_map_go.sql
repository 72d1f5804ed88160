-- Purpose: go on with maps: cancel what has not started of those that close, start the next batches
--          of the others as their window allows, let a source read on, end those that have nothing left.
-- Guard:   under the tenants' mutexes; maps that have ended are left alone.
-- Index:   map_state's key; map_pack's key, of which what has started is gone.
CREATE OR REPLACE FUNCTION engine_map_go(
    p_tenants int[], p_runs uuid[], p_ordinals int[], p_now timestamptz
) RETURNS void LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    k_tenants int[];
    k_runs uuid[];
    k_ordinals int[];
    f_tenants int[];
    f_runs uuid[];
    f_ordinals int[];
    f_rooms int[];
    v_again boolean;
    e_tenants int[];
    e_runs uuid[];
    e_ordinals int[];
BEGIN
    SELECT array_agg(m.tenant_id) FILTER (WHERE m.closing IS NOT NULL),
           array_agg(m.run_id) FILTER (WHERE m.closing IS NOT NULL),
           array_agg(m.ordinal) FILTER (WHERE m.closing IS NOT NULL),
           array_agg(m.tenant_id) FILTER (WHERE m.closing IS NULL),
           array_agg(m.run_id) FILTER (WHERE m.closing IS NULL),
           array_agg(m.ordinal) FILTER (WHERE m.closing IS NULL),
           array_agg(greatest(0, least(m.max_in_flight - m.in_flight, m.again + m.whole - m.started))) FILTER (WHERE m.closing IS NULL),
           bool_or(m.again > 0)
      INTO k_tenants, k_runs, k_ordinals, f_tenants, f_runs, f_ordinals, f_rooms, v_again
      FROM (SELECT DISTINCT * FROM unnest(p_tenants, p_runs, p_ordinals) AS d (tenant_id, run_id, ordinal)) d
     CROSS JOIN LATERAL (
         SELECT o.*, CASE WHEN coalesce(o.source, 'done') = 'done' THEN (o.total + o.batch_size - 1) / o.batch_size
                          ELSE o.total / o.batch_size END AS whole
           FROM map_state o
          WHERE o.run_id = d.run_id AND o.ordinal = d.ordinal AND (o.tenant_id = d.tenant_id) IS TRUE
            AND o.finished_at IS NULL OFFSET 0) m;

    IF k_runs IS NOT NULL THEN
        PERFORM engine_map_cancel(k_tenants, k_runs, k_ordinals, p_now);
    END IF;
    IF f_runs IS NOT NULL THEN
        IF v_again THEN
            f_rooms := engine_map_redo(f_tenants, f_runs, f_ordinals, f_rooms, p_now);
        END IF;
        PERFORM engine_map_fill(f_tenants, f_runs, f_ordinals, f_rooms, p_now);
    END IF;

    SELECT array_agg(m.tenant_id), array_agg(m.run_id), array_agg(m.ordinal) INTO e_tenants, e_runs, e_ordinals
      FROM (SELECT DISTINCT * FROM unnest(p_tenants, p_runs, p_ordinals) AS d (tenant_id, run_id, ordinal)) d
     CROSS JOIN LATERAL (
         SELECT o.tenant_id, o.run_id, o.ordinal FROM map_state o
          WHERE o.run_id = d.run_id AND o.ordinal = d.ordinal AND (o.tenant_id = d.tenant_id) IS TRUE
            AND o.finished_at IS NULL AND o.in_flight = 0 AND coalesce(o.source, 'done') = 'done'
            AND (o.closing IS NOT NULL OR o.again = 0 AND o.started::bigint * o.batch_size >= o.total) OFFSET 0) m;
    IF e_runs IS NOT NULL THEN
        PERFORM engine_map_end(e_tenants, e_runs, e_ordinals, p_now);
    END IF;
END
$$;
