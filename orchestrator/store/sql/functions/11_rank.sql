-- Purpose: a ready step's place before its priority: microseconds of its ready_at.  A point of priority
--          puts it 60 s earlier: rank = engine_micros(ready_at) - priority * 60000000.
CREATE OR REPLACE FUNCTION engine_micros(p_at timestamptz) RETURNS bigint LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT (extract(epoch FROM p_at) * 1000000)::bigint
$$;
