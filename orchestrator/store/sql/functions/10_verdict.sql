-- Purpose: what a step's trigger rule says of its parents' ends: 'wait', 'ready', or why it is skipped.
-- Model:   orchestrator.domain.statuses.decide; a property test compares the two.
-- total = left + ok + failed + skipped + cancelled; a cancelled parent counts as no end of its own.
CREATE OR REPLACE FUNCTION engine_verdict(
    p_rule text, p_total int, p_left int, p_ok int, p_failed int, p_skipped int
) RETURNS text LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
-- plpgsql: PostgreSQL does not inline this as SQL, and calls it ten times slower then
BEGIN
    RETURN CASE
        WHEN p_total = 0 THEN 'ready'
        WHEN p_rule = 'one_success' AND p_ok > 0 THEN 'ready'
        WHEN p_rule = 'one_failed' AND p_failed > 0 THEN 'ready'
        WHEN p_left > 0 THEN 'wait'
        WHEN p_rule IN ('all_done', 'always') THEN 'ready'
        WHEN p_rule = 'all_success' THEN
            CASE WHEN p_ok = p_total THEN 'ready'
                 WHEN p_failed > 0 OR p_ok + p_skipped < p_total THEN 'upstream_failed'
                 ELSE 'upstream_skipped' END
        WHEN p_rule = 'none_failed' AND p_ok + p_skipped = p_total THEN 'ready'
        WHEN p_rule = 'all_failed' AND p_failed = p_total THEN 'ready'
        ELSE 'trigger_rule'
    END;
END
$$;
