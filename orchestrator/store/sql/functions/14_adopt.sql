-- Purpose: a text for another owner (a run, or a cached output): the payloads that it refers to are
--          copied, so that each goes with its own owner; objects in the storage are shared.
-- Index:   payload's key.  A text without references, which is nearly every one, comes back as it is.
CREATE OR REPLACE FUNCTION engine_adopt(p_text text, p_tenant int, p_run uuid, p_cache_key text)
RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    v_old text;
    v_new uuid;
BEGIN
    IF p_text IS NULL OR strpos(p_text, chr(1)) = 0 THEN
        RETURN p_text;
    END IF;
    FOR v_old IN SELECT DISTINCT m[1] FROM regexp_matches(p_text, chr(1) || '([0-9a-f-]{36})', 'g') AS m LOOP
        v_new := gen_random_uuid();
        INSERT INTO payload (id, tenant_id, run_id, cache_key, size, data, object_key, body)
        SELECT v_new, p.tenant_id, p_run, p_cache_key, p.size, p.data, p.object_key,
               engine_adopt(p.body, p_tenant, p_run, p_cache_key)
          FROM payload p WHERE p.id = v_old::uuid AND p.tenant_id = p_tenant;
        p_text := replace(p_text, chr(1) || v_old, chr(1) || v_new::text);
    END LOOP;
    RETURN p_text;
END
$$;
