-- Purpose: an estimate of what tables and their indexes hold beyond what their rows need, from the planner's
--          statistics: rows × (mean width of the columns + 28 or 12 bytes of header and pointer), pages filled
--          as the fill factor says.  An index whose equal keys are kept once may need less than is said.
-- Guard:   none, a look at statistics; the owner's eyes are needed (pg_stats shows others nothing of tables
--          behind policies).  At most 20, those with most.
-- Returns: kind (table, index), name, bytes, bytes that would do.
WITH widths AS (
    SELECT s.tablename, s.attname, (1 - s.null_frac) * s.avg_width AS width
      FROM pg_stats s WHERE s.schemaname = current_schema() AND NOT s.inherited
), tables AS (
    SELECT 'table' AS kind, c.relname::text AS name, pg_relation_size(c.oid) AS bytes,
           c.reltuples * (ceil((24 + w.width) / 8) * 8 + 4) / (8168.0 * f.fill) * 8192 AS needed
      FROM pg_class c
      JOIN (SELECT tablename, sum(width) AS width FROM widths GROUP BY 1) w ON w.tablename = c.relname
     CROSS JOIN LATERAL (
           SELECT coalesce(min(p.option_value::float8) FILTER (WHERE p.option_name = 'fillfactor'), 100) / 100 AS fill
             FROM pg_options_to_table(c.reloptions) p) f
     WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind = 'r' AND c.reltuples >= 0
), indexes AS (
    SELECT 'index' AS kind, i.relname::text AS name, pg_relation_size(i.oid) AS bytes,
           greatest(i.reltuples, 0) * (ceil((8 + k.width) / 8) * 8 + 4) / (8152.0 * 0.9) * 8192 + 16384 AS needed
      FROM pg_index x
      JOIN pg_class i ON i.oid = x.indexrelid
      JOIN pg_class c ON c.oid = x.indrelid
      JOIN pg_am m ON m.oid = i.relam AND m.amname = 'btree'
     CROSS JOIN LATERAL (
           SELECT sum(coalesce(w.width, 8)) AS width FROM unnest(x.indkey::int[]) AS n (attnum)
             LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = n.attnum
             LEFT JOIN widths w ON w.tablename = c.relname AND w.attname = a.attname) k
     WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind = 'r'
)
SELECT kind, name, bytes, needed::bigint FROM (SELECT * FROM tables UNION ALL SELECT * FROM indexes) b
 WHERE bytes - needed > %(least)s::bigint AND needed < bytes * (1 - %(share)s::float8)
 ORDER BY bytes - needed DESC LIMIT 20
