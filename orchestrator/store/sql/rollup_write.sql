-- Purpose: add to buckets; counts are added here, sketches come merged.
-- Index:   rollup's key.  Guard: the tenants' cursors are locked.
INSERT INTO rollup AS r (
    tenant_id, workflow_id, width_s, at, submitted, runs_succeeded, runs_failed, runs_cancelled, runs_timed_out,
    attempts, steps_succeeded, steps_failed, steps_skipped, steps_cancelled, retries, timeouts, losses, events,
    worker_s, queue_sketch, attempt_sketch, run_sketch, ready_sketch)
SELECT d.tenant_id, d.workflow_id, d.width_s, to_timestamp(d.at), d.submitted, d.runs_succeeded, d.runs_failed,
       d.runs_cancelled, d.runs_timed_out, d.attempts, d.steps_succeeded, d.steps_failed, d.steps_skipped,
       d.steps_cancelled, d.retries, d.timeouts, d.losses, d.events, d.worker_s, d.queue_sketch,
       d.attempt_sketch, d.run_sketch, d.ready_sketch
  FROM unnest(%(tenants)s::int[], %(workflows)s::bigint[], %(widths)s::int[], %(ats)s::bigint[],
              %(submitted)s::bigint[], %(runs_succeeded)s::bigint[], %(runs_failed)s::bigint[],
              %(runs_cancelled)s::bigint[], %(runs_timed_out)s::bigint[], %(attempts)s::bigint[],
              %(steps_succeeded)s::bigint[], %(steps_failed)s::bigint[], %(steps_skipped)s::bigint[],
              %(steps_cancelled)s::bigint[], %(retries)s::bigint[], %(timeouts)s::bigint[],
              %(losses)s::bigint[], %(events)s::bigint[], %(worker_s)s::float8[], %(queue_sketch)s::bytea[],
              %(attempt_sketch)s::bytea[], %(run_sketch)s::bytea[], %(ready_sketch)s::bytea[])
       AS d (tenant_id, workflow_id, width_s, at, submitted, runs_succeeded, runs_failed, runs_cancelled,
             runs_timed_out, attempts, steps_succeeded, steps_failed, steps_skipped, steps_cancelled, retries,
             timeouts, losses, events, worker_s, queue_sketch, attempt_sketch, run_sketch, ready_sketch)
    ON CONFLICT (tenant_id, workflow_id, width_s, at) DO UPDATE SET
       submitted = r.submitted + excluded.submitted,
       runs_succeeded = r.runs_succeeded + excluded.runs_succeeded,
       runs_failed = r.runs_failed + excluded.runs_failed,
       runs_cancelled = r.runs_cancelled + excluded.runs_cancelled,
       runs_timed_out = r.runs_timed_out + excluded.runs_timed_out,
       attempts = r.attempts + excluded.attempts,
       steps_succeeded = r.steps_succeeded + excluded.steps_succeeded,
       steps_failed = r.steps_failed + excluded.steps_failed,
       steps_skipped = r.steps_skipped + excluded.steps_skipped,
       steps_cancelled = r.steps_cancelled + excluded.steps_cancelled,
       retries = r.retries + excluded.retries,
       timeouts = r.timeouts + excluded.timeouts,
       losses = r.losses + excluded.losses,
       events = r.events + excluded.events,
       worker_s = r.worker_s + excluded.worker_s,
       queue_sketch = coalesce(excluded.queue_sketch, r.queue_sketch),
       attempt_sketch = coalesce(excluded.attempt_sketch, r.attempt_sketch),
       run_sketch = coalesce(excluded.run_sketch, r.run_sketch),
       ready_sketch = coalesce(excluded.ready_sketch, r.ready_sketch)
