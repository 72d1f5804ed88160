-- Purpose: drop buckets of one width that are older than anybody asks for.
-- Index:   rollup_age.
DELETE FROM rollup WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM rollup
     WHERE width_s = %(width)s AND at < now() - make_interval(secs => %(age)s) LIMIT %(limit)s))
