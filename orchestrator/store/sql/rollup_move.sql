-- Purpose: move the tenants' cursors and add to their totals since the beginning.
-- Index:   rollup_cursor's key.  Guard: the cursors are locked by this transaction.
UPDATE rollup_cursor c SET
       seq = d.seq,
       submitted = c.submitted + d.submitted,
       runs_succeeded = c.runs_succeeded + d.runs_succeeded,
       runs_failed = c.runs_failed + d.runs_failed,
       runs_cancelled = c.runs_cancelled + d.runs_cancelled,
       attempts = c.attempts + d.attempts,
       steps_succeeded = c.steps_succeeded + d.steps_succeeded,
       steps_failed = c.steps_failed + d.steps_failed,
       steps_skipped = c.steps_skipped + d.steps_skipped,
       steps_cancelled = c.steps_cancelled + d.steps_cancelled,
       retries = c.retries + d.retries,
       losses = c.losses + d.losses,
       worker_s = c.worker_s + d.worker_s
  FROM unnest(%(tenants)s::int[], %(seqs)s::bigint[],
              %(submitted)s::bigint[], %(runs_succeeded)s::bigint[], %(runs_failed)s::bigint[],
              %(runs_cancelled)s::bigint[], %(attempts)s::bigint[], %(steps_succeeded)s::bigint[],
              %(steps_failed)s::bigint[], %(steps_skipped)s::bigint[], %(steps_cancelled)s::bigint[],
              %(retries)s::bigint[], %(losses)s::bigint[], %(worker_s)s::float8[])
       AS d (tenant_id, seq, submitted, runs_succeeded, runs_failed, runs_cancelled, attempts,
             steps_succeeded, steps_failed, steps_skipped, steps_cancelled, retries, losses, worker_s)
 WHERE c.tenant_id = d.tenant_id
