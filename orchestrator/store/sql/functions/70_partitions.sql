-- Purpose: the event table's daily partitions: made ahead, dropped when old.
-- `event_other` takes what no partition is there for, so that a late clock stops nobody.
CREATE OR REPLACE FUNCTION engine_event_partitions(p_ahead int) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
    v_day date;
    v_name text;
    v_made int := 0;
BEGIN
    FOR v_day IN SELECT d::date FROM generate_series(
        (clock_timestamp() AT TIME ZONE 'UTC')::date, (clock_timestamp() AT TIME ZONE 'UTC')::date + p_ahead, '1 day') AS d
    LOOP
        v_name := 'event_' || to_char(v_day, 'YYYYMMDD');
        IF to_regclass(v_name) IS NULL THEN
            IF EXISTS (SELECT 1 FROM event_other WHERE at >= v_day::timestamp AT TIME ZONE 'UTC'
                                                 AND at < (v_day + 1)::timestamp AT TIME ZONE 'UTC') THEN
                CONTINUE;  -- the day has begun in the default partition and stays there
            END IF;
            EXECUTE format('CREATE TABLE %I PARTITION OF event FOR VALUES FROM (%L) TO (%L)', v_name,
                           v_day::timestamp AT TIME ZONE 'UTC', (v_day + 1)::timestamp AT TIME ZONE 'UTC');
            v_made := v_made + 1;
        END IF;
    END LOOP;
    RETURN v_made;
END
$$;

CREATE OR REPLACE FUNCTION engine_drop_event_partitions(p_days int) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
    v_name text;
    v_dropped int := 0;
    v_oldest text := 'event_' || to_char((clock_timestamp() AT TIME ZONE 'UTC')::date - p_days, 'YYYYMMDD');
BEGIN
    FOR v_name IN SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
                   WHERE i.inhparent = 'event'::regclass AND c.relname ~ '^event_\d{8}$' AND c.relname < v_oldest
    LOOP
        EXECUTE format('DROP TABLE %I', v_name);
        v_dropped := v_dropped + 1;
    END LOOP;
    DELETE FROM event_other WHERE at < clock_timestamp() - p_days * interval '1 day';
    RETURN v_dropped;
END
$$;
