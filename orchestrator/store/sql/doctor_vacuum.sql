-- Purpose: tables whose old rows are more than autovacuum should let them be.
-- Guard:   none, a look at statistics; at most 20, those with most.
-- Returns: table, live rows, dead rows, from how many autovacuum begins, seconds since it was vacuumed (null:
--          never), whether autovacuum is off for it.
WITH seen AS (
    SELECT s.relname::text AS name, s.n_live_tup AS live, s.n_dead_tup AS dead,
           coalesce((o.options ->> 'autovacuum_vacuum_threshold')::float8,
                    current_setting('autovacuum_vacuum_threshold')::float8)
           + coalesce((o.options ->> 'autovacuum_vacuum_scale_factor')::float8,
                      current_setting('autovacuum_vacuum_scale_factor')::float8) * greatest(c.reltuples, 0) AS allowed,
           extract(epoch FROM clock_timestamp() - greatest(s.last_autovacuum, s.last_vacuum))::float8 AS ago_s,
           coalesce(o.options ->> 'autovacuum_enabled', 'true') IN ('false', 'off') AS is_off
      FROM pg_stat_user_tables s
      JOIN pg_class c ON c.oid = s.relid
     CROSS JOIN LATERAL (
           SELECT json_object_agg(p.option_name, p.option_value) AS options
             FROM pg_options_to_table(c.reloptions) p) o
     WHERE s.schemaname = current_schema()
)
SELECT name, live, dead, allowed::bigint, ago_s, is_off FROM seen
 WHERE dead > %(least)s::bigint AND dead > 2 * allowed
   AND (ago_s IS NULL OR ago_s > %(ago)s::float8)
 ORDER BY dead DESC LIMIT 20
