-- Purpose: which of these queues need a wake-up message; the others have one on its way.
-- Guard:   under the tenant's mutex; a claim that looks at the tenant clears the mark.
CREATE OR REPLACE FUNCTION engine_hint(p_tenant int, p_queues text[], p_now timestamptz)
RETURNS text[] LANGUAGE plpgsql AS $$
DECLARE
    v_out text[];
    v_need text[];
BEGIN
    IF p_queues IS NULL OR cardinality(p_queues) = 0 THEN
        RETURN '{}';
    END IF;
    SELECT CASE WHEN hinted_at > p_now - interval '100 ms' THEN hint_queues ELSE '{}' END
      INTO v_out FROM tenant_load WHERE tenant_id = p_tenant;
    SELECT coalesce(array_agg(DISTINCT q), '{}') INTO v_need
      FROM unnest(p_queues) AS q WHERE q <> ALL (v_out);
    IF cardinality(v_need) > 0 THEN
        UPDATE tenant_load SET hint_queues = v_out || v_need, hinted_at = p_now
         WHERE tenant_id = p_tenant;
    END IF;
    RETURN v_need;
END
$$;
