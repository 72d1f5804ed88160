-- Purpose: work off a bulk retry of dead letters, as many as its rate allows by now.
-- Guard:   takes the tenant's mutex; an item is done, and written down as done, in one transaction, so
--          that whoever dies in between, nothing is retried twice or forgotten.
-- Index:   action_item_open.  A clock that was away does not catch up: at most a second's worth at once.
-- Returns: how many items were looked at; the queues to wake.
CREATE OR REPLACE FUNCTION engine_act(p_action uuid, p_limit int, OUT looked int, OUT wake text[]) LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    v_now timestamptz;
    v_since timestamptz;
    v_action record;
    v_item record;
    v_letter record;
    v_one record;
    v_done int := 0;
BEGIN
    looked := 0;
    wake := '{}';
    PERFORM engine_lock(ARRAY[a.tenant_id]) FROM action a WHERE a.id = p_action;
    v_now := clock_timestamp();
    SELECT a.* INTO v_action FROM action a WHERE a.id = p_action AND a.finished_at IS NULL AND a.due_at <= v_now;
    IF v_action.id IS NULL THEN
        RETURN;
    END IF;
    v_since := greatest(v_action.due_at, v_now - interval '1 second');
    FOR v_item IN
        SELECT i.place, i.letter_id FROM action_item i
         WHERE i.action_id = p_action AND i.outcome IS NULL ORDER BY i.place
         LIMIT least(p_limit, 1 + floor(extract(epoch FROM v_now - v_since) * v_action.rate_per_s))
    LOOP
        looked := looked + 1;
        SELECT t.run_id, t.ordinal INTO v_letter FROM dead_letter t
         WHERE t.id = v_item.letter_id AND (t.tenant_id = v_action.tenant_id) IS TRUE;
        IF v_letter.run_id IS NULL THEN
            UPDATE action_item i SET outcome = 'gone' WHERE i.action_id = p_action AND i.place = v_item.place;
            CONTINUE;
        END IF;
        SELECT * INTO v_one FROM engine_retry_step(v_action.tenant_id, v_letter.run_id, v_letter.ordinal, v_action.actor);
        UPDATE action_item i SET outcome = coalesce(v_one.refused, 'retried')
         WHERE i.action_id = p_action AND i.place = v_item.place;
        v_done := v_done + (v_one.refused IS NULL)::int;
        wake := wake || v_one.wake;
    END LOOP;
    UPDATE action a SET
        done_count = a.done_count + v_done,
        passed_count = a.passed_count + looked - v_done,
        due_at = v_since + looked / a.rate_per_s * interval '1 second',
        finished_at = CASE WHEN a.done_count + a.passed_count + looked >= a.total THEN v_now END
     WHERE a.id = p_action;
END
$$;
