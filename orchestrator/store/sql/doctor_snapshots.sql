-- Purpose: what holds back the removal of old rows: transactions with a snapshot or an id, replication slots,
--          prepared transactions.
-- Guard:   none, a look; at most 20 of each, the oldest.
-- Returns: kind (transaction, slot, prepared), its name, who or what it is, seconds since it began (null: not
--          known), transactions since then.
(SELECT 'transaction', a.pid::text,
        coalesce(nullif(a.application_name, ''), a.usename::text, '?') || ', ' || coalesce(a.state, a.backend_type, '?'),
        extract(epoch FROM clock_timestamp() - a.xact_start)::float8,
        greatest(age(a.backend_xmin), age(a.backend_xid))::bigint
   FROM pg_stat_activity a
  WHERE coalesce(a.backend_xmin, a.backend_xid) IS NOT NULL AND a.pid <> pg_backend_pid()
    AND (a.datname = current_database() OR a.backend_type = 'walsender')
  ORDER BY a.xact_start NULLS LAST LIMIT 20)
UNION ALL
(SELECT 'slot', s.slot_name::text, CASE WHEN s.active THEN 'in use' ELSE 'nobody uses it' END, NULL,
        greatest(age(s.xmin), age(s.catalog_xmin))::bigint
   FROM pg_replication_slots s WHERE coalesce(s.xmin, s.catalog_xmin) IS NOT NULL
  ORDER BY 5 DESC LIMIT 20)
UNION ALL
(SELECT 'prepared', p.gid, p.owner::text, extract(epoch FROM clock_timestamp() - p.prepared)::float8,
        age(p.transaction)::bigint
   FROM pg_prepared_xacts p WHERE p.database = current_database()
  ORDER BY p.prepared LIMIT 20)
