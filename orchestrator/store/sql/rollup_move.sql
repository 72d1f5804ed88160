-- Purpose: move the tenants' cursors and add to their totals since the beginning.
-- Index:   rollup_cursor's key.  Guard: the cursors are locked by this transaction.
-- Input:   histograms as texts of arrays (unnest would flatten arrays of arrays).
UPDATE rollup_cursor c SET
       seq = d.seq, submitted = c.submitted + d.submitted,
       runs_succeeded = c.runs_succeeded + d.runs_succeeded,
       runs_failed = c.runs_failed + d.runs_failed,
       runs_cancelled = c.runs_cancelled + d.runs_cancelled,
       runs_timed_out = c.runs_timed_out + d.runs_timed_out,
       attempts = c.attempts + d.attempts,
       steps_succeeded = c.steps_succeeded + d.steps_succeeded,
       steps_failed = c.steps_failed + d.steps_failed,
       steps_skipped = c.steps_skipped + d.steps_skipped,
       steps_cancelled = c.steps_cancelled + d.steps_cancelled,
       retries = c.retries + d.retries,
       timeouts = c.timeouts + d.timeouts,
       losses = c.losses + d.losses, events = c.events + d.events,
       worker_s = c.worker_s + d.worker_s,
       queue_sum_s = c.queue_sum_s + d.queue_sum_s,
       attempt_sum_s = c.attempt_sum_s + d.attempt_sum_s,
       run_sum_s = c.run_sum_s + d.run_sum_s,
       ready_sum_s = c.ready_sum_s + d.ready_sum_s,
       queue_histogram = (SELECT array_agg(coalesce(u.was, 0) + u.more ORDER BY u.nr)
                              FROM unnest(c.queue_histogram, d.queue_histogram::bigint[]) WITH ORDINALITY AS u (was, more, nr)),
       attempt_histogram = (SELECT array_agg(coalesce(u.was, 0) + u.more ORDER BY u.nr)
                              FROM unnest(c.attempt_histogram, d.attempt_histogram::bigint[]) WITH ORDINALITY AS u (was, more, nr)),
       run_histogram = (SELECT array_agg(coalesce(u.was, 0) + u.more ORDER BY u.nr)
                              FROM unnest(c.run_histogram, d.run_histogram::bigint[]) WITH ORDINALITY AS u (was, more, nr)),
       ready_histogram = (SELECT array_agg(coalesce(u.was, 0) + u.more ORDER BY u.nr)
                              FROM unnest(c.ready_histogram, d.ready_histogram::bigint[]) WITH ORDINALITY AS u (was, more, nr))
  FROM unnest(%(tenants)s::int[], %(seqs)s::bigint[], %(submitted)s::bigint[], %(runs_succeeded)s::bigint[],
              %(runs_failed)s::bigint[], %(runs_cancelled)s::bigint[], %(runs_timed_out)s::bigint[],
              %(attempts)s::bigint[], %(steps_succeeded)s::bigint[], %(steps_failed)s::bigint[],
              %(steps_skipped)s::bigint[], %(steps_cancelled)s::bigint[], %(retries)s::bigint[],
              %(timeouts)s::bigint[], %(losses)s::bigint[], %(events)s::bigint[], %(worker_s)s::float8[],
              %(queue_histogram)s::text[], %(queue_sum_s)s::float8[], %(attempt_histogram)s::text[],
              %(attempt_sum_s)s::float8[], %(run_histogram)s::text[], %(run_sum_s)s::float8[],
              %(ready_histogram)s::text[], %(ready_sum_s)s::float8[])
       AS d (tenant_id, seq, submitted, runs_succeeded, runs_failed, runs_cancelled, runs_timed_out, attempts,
             steps_succeeded, steps_failed, steps_skipped, steps_cancelled, retries, timeouts, losses, events,
             worker_s, queue_histogram, queue_sum_s, attempt_histogram, attempt_sum_s, run_histogram, run_sum_s,
             ready_histogram, ready_sum_s)
 WHERE c.tenant_id = d.tenant_id
