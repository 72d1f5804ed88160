-- Purpose: what claim answers when it took nothing and a pool's rate lets a step start within a second:
--          one row `later`, whose `epoch` is the milliseconds until then.
CREATE OR REPLACE FUNCTION engine_claim_later(p_queues text[], p_handlers int[]) RETURNS TABLE (
    kind text, tenant_id int, run_id uuid, ordinal int, batch int, version_id bigint, epoch int,
    attempts int, losses smallint, suspect boolean, args text, closing text, labels text,
    input text, refs int[], states text[], outputs text[], lazy boolean, repeats int, trace text
) LANGUAGE sql STABLE AS $$
    SELECT 'later', 0, '00000000-0000-0000-0000-000000000000'::uuid, 0, 0, 0::bigint, w.ms,
           0, 0::smallint, false, NULL::text, NULL::text, '{}', NULL::text, NULL::int[], NULL::text[], NULL::text[], false, 0, NULL::text
      FROM engine_pool_later(p_queues, p_handlers) AS w (ms)
     WHERE w.ms IS NOT NULL
$$;
