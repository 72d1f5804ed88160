-- Purpose: daily partitions of the append-only tables (event, attempt_log): made ahead, dropped when old.
-- `<table>_other` takes what no partition is there for, so that a late clock stops nobody.
-- Rights:  the owner's (only who owns a table may give it partitions); workers alone may call the doors
--          below, and what they call makes nothing with a caller's own rights.
-- Locks:   making and dropping need the parent's own lock, behind which every writer waits: it is asked for
--          a second and a half at most, and again with the next call.  A day is made days ahead, so that
--          costs nothing; and a vacuum in the way gives up after deadlock_timeout, which is a second.
CREATE OR REPLACE FUNCTION engine_days_ahead(p_table text, p_ahead int) RETURNS int LANGUAGE plpgsql
SET lock_timeout = '1500ms' AS $$
DECLARE
    v_day date;
    v_name text;
    v_begun boolean;
    v_made int := 0;
BEGIN
    FOR v_day IN SELECT d::date FROM generate_series(
        (clock_timestamp() AT TIME ZONE 'UTC')::date, (clock_timestamp() AT TIME ZONE 'UTC')::date + p_ahead, '1 day') AS d
    LOOP
        v_name := p_table || '_' || to_char(v_day, 'YYYYMMDD');
        IF to_regclass(v_name) IS NULL THEN
            EXECUTE format('SELECT EXISTS (SELECT 1 FROM %I WHERE at >= $1 AND at < $2)', p_table || '_other')
               INTO v_begun USING v_day::timestamp AT TIME ZONE 'UTC', (v_day + 1)::timestamp AT TIME ZONE 'UTC';
            IF v_begun THEN
                CONTINUE;  -- the day has begun in the default partition and stays there
            END IF;
            BEGIN
                EXECUTE format('CREATE TABLE %I PARTITION OF %I FOR VALUES FROM (%L) TO (%L)', v_name, p_table,
                               v_day::timestamp AT TIME ZONE 'UTC', (v_day + 1)::timestamp AT TIME ZONE 'UTC');
                EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', v_name);  -- reached through its table alone
            EXCEPTION WHEN lock_not_available THEN
                RAISE LOG 'partition % is not made yet: %', v_name, SQLERRM;
                EXIT;
            END;
            v_made := v_made + 1;
        END IF;
    END LOOP;
    RETURN v_made;
END
$$;

CREATE OR REPLACE FUNCTION engine_drop_days(p_table text, p_days int) RETURNS int LANGUAGE plpgsql
SET lock_timeout = '1500ms' AS $$
DECLARE
    v_name text;
    v_dropped int := 0;
    v_oldest text := p_table || '_' || to_char((clock_timestamp() AT TIME ZONE 'UTC')::date - p_days, 'YYYYMMDD');
BEGIN
    FOR v_name IN SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
                   WHERE i.inhparent = p_table::regclass AND c.relname ~ ('^' || p_table || '_\d{8}$') AND c.relname < v_oldest
                   ORDER BY c.relname
    LOOP
        BEGIN
            EXECUTE format('DROP TABLE %I', v_name);
        EXCEPTION WHEN lock_not_available THEN
            RAISE LOG 'partition % is not dropped yet: %', v_name, SQLERRM;
            EXIT;
        END;
        v_dropped := v_dropped + 1;
    END LOOP;
    EXECUTE format('DELETE FROM %I WHERE at < clock_timestamp() - $1 * interval ''1 day''', p_table || '_other') USING p_days;
    RETURN v_dropped;
END
$$;

CREATE OR REPLACE FUNCTION engine_event_partitions(p_ahead int) RETURNS int LANGUAGE sql
SECURITY DEFINER SET search_path FROM CURRENT AS $$ SELECT engine_days_ahead('event', p_ahead) $$;

CREATE OR REPLACE FUNCTION engine_drop_event_partitions(p_days int) RETURNS int LANGUAGE sql
SECURITY DEFINER SET search_path FROM CURRENT AS $$ SELECT engine_drop_days('event', p_days) $$;

CREATE OR REPLACE FUNCTION engine_log_partitions(p_ahead int) RETURNS int LANGUAGE sql
SECURITY DEFINER SET search_path FROM CURRENT AS $$ SELECT engine_days_ahead('attempt_log', p_ahead) $$;

CREATE OR REPLACE FUNCTION engine_drop_log_partitions(p_days int) RETURNS int LANGUAGE sql
SECURITY DEFINER SET search_path FROM CURRENT AS $$ SELECT engine_drop_days('attempt_log', p_days) $$;
