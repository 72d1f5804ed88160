-- Purpose: how many of new runs a tenant's quotas take now, the first ones, and what refuses the rest.
-- Guard:   under the tenant's mutex, so that two submissions never take one place.
-- Index:   quota's and tenant_load's keys; step_run_parked, as many entries as the quota at most.
-- Input:   the places of the new runs among p_versions, in their order; p_held as engine_admit answers.
-- Returns: one row: how many are taken; of the quota that takes the fewest its name, value, use, and
--          the seconds until it may take one more (null where all are taken).
--          The allowance of `submissions_per_minute` is spent by what is taken: GCRA, a burst of the
--          whole of it at most.
CREATE OR REPLACE FUNCTION engine_quota(
    p_tenant int, p_new int[], p_versions bigint[], p_held text[], p_now timestamptz
) RETURNS TABLE (room int, quota text, value bigint, use bigint, retry_s int) LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
#variable_conflict use_column
DECLARE
    v_limits record;
    v_load record;
    v_whole timestamptz;
    v_ahead numeric;
    v_use bigint;
    v_room int;
BEGIN
    SELECT q.max_active_runs, q.max_waiting_steps, q.submissions_per_minute, q.max_storage_bytes INTO v_limits
      FROM quota q WHERE q.tenant_id = p_tenant;
    SELECT l.active_runs, l.ready_count, l.submit_at INTO v_load FROM tenant_load l WHERE l.tenant_id = p_tenant;
    room := cardinality(p_new);

    IF v_limits.max_storage_bytes IS NOT NULL THEN
        v_use := coalesce((SELECT s.bytes FROM storage s WHERE s.tenant_id = p_tenant), 0);
        IF v_use >= v_limits.max_storage_bytes THEN
            room := 0; quota := 'max_storage_bytes'; value := v_limits.max_storage_bytes; use := v_use; retry_s := 60;
        END IF;
    END IF;
    IF v_limits.max_active_runs - v_load.active_runs < room THEN
        room := greatest(v_limits.max_active_runs - v_load.active_runs, 0);
        quota := 'max_active_runs'; value := v_limits.max_active_runs; use := v_load.active_runs + room; retry_s := 5;
    END IF;
    IF v_limits.max_waiting_steps IS NOT NULL THEN
        v_use := v_load.ready_count + (SELECT count(*) FROM (
            SELECT 1 FROM step_run s WHERE s.tenant_id = p_tenant AND s.state = 'ready' AND s.parked IS NOT NULL
             LIMIT greatest(v_limits.max_waiting_steps - v_load.ready_count, 0)) x);
        -- a run is taken while there is room, however many of its steps may start then
        SELECT count(*) INTO v_room
          FROM (SELECT sum(CASE WHEN p_held[n.i] IS NULL THEN v.roots ELSE 0 END) OVER (ORDER BY n.nr)
                       - CASE WHEN p_held[n.i] IS NULL THEN v.roots ELSE 0 END AS before
                  FROM unnest(p_new) WITH ORDINALITY AS n (i, nr)
                  JOIN (SELECT d.version_id, (SELECT count(*) FROM version_step s
                                               WHERE s.version_id = d.version_id AND s.parents = '{}') AS roots
                          FROM (SELECT DISTINCT p_versions[i] AS version_id FROM unnest(p_new) AS i) d) v
                    ON v.version_id = p_versions[n.i]) x
         WHERE v_use + x.before < v_limits.max_waiting_steps;
        IF v_room < room THEN
            room := v_room;
            quota := 'max_waiting_steps'; value := v_limits.max_waiting_steps; retry_s := 5;
            use := greatest(v_use, CASE WHEN v_room > 0 THEN value ELSE v_use END);
        END IF;
    END IF;
    IF v_limits.submissions_per_minute IS NOT NULL THEN
        -- whole numbers: a share of a minute is seldom one of microseconds; what is lost goes to the tenant
        v_whole := greatest(v_load.submit_at, p_now);
        v_ahead := extract(epoch FROM v_whole - p_now);
        v_room := greatest(div((60 - v_ahead) * v_limits.submissions_per_minute, 60), 0);
        IF v_room < room THEN
            room := v_room;
            quota := 'submissions_per_minute'; value := v_limits.submissions_per_minute; use := value;
            retry_s := greatest(1, ceil(v_ahead + (v_room + 1) * 60.0 / value - 60));
        END IF;
        UPDATE tenant_load l
           SET submit_at = v_whole + room * 60000000::bigint / v_limits.submissions_per_minute * interval '1 microsecond'
         WHERE l.tenant_id = p_tenant AND room > 0;
    END IF;
    RETURN NEXT;
END
$$;
