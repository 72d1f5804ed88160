-- Purpose: the output of a map whose batches have ended, put together of theirs.  Items of a batch stand
--          in the order that its worker gave them; those of one that failed are null.
-- Guard:   under the tenant's mutex.  Index: step_run's key.  p_bytes: of the batches' rows, together.
-- Up to 8 KiB the text itself; of a longer one, parts of about 1 MiB become payloads, each holding whole
-- batches' values between commas, and the text refers to them.  PostgreSQL compresses them; whatever the
-- output's size, a part is all that is put together at a time.
CREATE OR REPLACE FUNCTION engine_map_output(p_tenant int, p_run uuid, p_ordinal int, p_bytes bigint)
RETURNS text LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
SET enable_hashagg = off AS $$
DECLARE
    v_text text;
BEGIN
    WITH map AS MATERIALIZED (
        SELECT m.ordered, m.batch_size, m.total FROM map_state m WHERE m.run_id = p_run AND m.ordinal = p_ordinal
    ), batch AS (
        SELECT row_number() OVER w AS nr,
               CASE WHEN p_bytes > 8192 THEN coalesce(sum(octet_length(o.output)) OVER w, 0) / 1048576 ELSE 0 END AS part,
               CASE WHEN o.state = 'succeeded' THEN substr(o.output, 2, length(o.output) - 2)
                    ELSE substr(repeat(',null', least(m.batch_size, m.total - (o.batch - 1) * m.batch_size)), 2) END AS text
          FROM map m
          JOIN step_run o ON o.tenant_id = p_tenant AND o.run_id = p_run AND o.ordinal = p_ordinal AND o.batch > 0
        WINDOW w AS (ORDER BY CASE WHEN NOT m.ordered THEN o.finished_at END, o.batch)
    ), part AS MATERIALIZED (
        SELECT b.part, gen_random_uuid() AS id, string_agg(b.text, ',' ORDER BY b.nr) AS body FROM batch b GROUP BY b.part
    ), kept AS (
        INSERT INTO payload (id, tenant_id, run_id, size, body)
        SELECT p.id, p_tenant, p_run, octet_length(p.body), p.body FROM part p WHERE p_bytes > 8192
    )
    SELECT '[' || coalesce(string_agg(CASE WHEN p_bytes > 8192 THEN chr(1) || p.id::text ELSE p.body END, ',' ORDER BY p.part), '') || ']'
      INTO v_text FROM part p;
    RETURN v_text;
END
$$;
