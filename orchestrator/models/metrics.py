"""What is counted of the events: buckets of time for charts, and totals since the beginning."""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.db import models

WIDTHS = (10, 60, 300, 3600)
"""Seconds of a bucket."""
HISTOGRAM_BOUNDS_S = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
    300.0, 1800.0, 7200.0, 43_200.0,
)  # fmt: skip
"""Upper bounds of the totals' histograms.  They are never changed: what was counted stays."""


class Counts(models.Model):
    """How many transitions of each kind; columns shared by buckets and totals."""

    submitted = models.BigIntegerField(db_default=0)
    runs_succeeded = models.BigIntegerField(db_default=0)
    runs_failed = models.BigIntegerField(db_default=0)
    runs_cancelled = models.BigIntegerField(db_default=0)
    runs_timed_out = models.BigIntegerField(db_default=0)
    """Of those that failed: by their timeout or deadline."""
    attempts = models.BigIntegerField(db_default=0)
    """Steps started: every claim, so retries and repeats after a loss too."""
    steps_succeeded = models.BigIntegerField(db_default=0)
    steps_failed = models.BigIntegerField(db_default=0)
    steps_skipped = models.BigIntegerField(db_default=0)
    steps_cancelled = models.BigIntegerField(db_default=0)
    retries = models.BigIntegerField(db_default=0)
    timeouts = models.BigIntegerField(db_default=0)
    """Attempts that took too long, or were silent for too long."""
    losses = models.BigIntegerField(db_default=0)
    events = models.BigIntegerField(db_default=0)
    """Of every type, also of those that count nothing else."""
    worker_s = models.FloatField(db_default=0.0)
    """Seconds that connections were held."""

    class Meta:
        abstract = True


COUNTS = tuple(field.name for field in Counts._meta.local_fields)
MEASURES = ("queue", "attempt", "run", "ready")
"""What is measured in seconds: each has a sketch in a bucket, a histogram in the totals."""


class Rollup(Counts):
    """One bucket of `width_s` seconds from `at` on, of one workflow or (0) of the whole tenant.

    The sketches are t-digests of seconds (`fastdigest`), so that buckets merge into any window.
    Without foreign keys, like the events they are made of."""

    pk = models.CompositePrimaryKey("tenant_id", "workflow_id", "width_s", "at")
    tenant_id = models.IntegerField()
    workflow_id = models.BigIntegerField()
    width_s = models.IntegerField()
    at = models.DateTimeField()
    queue_sketch = models.BinaryField(null=True)
    """Seconds from ready to start, of steps."""
    attempt_sketch = models.BinaryField(null=True)
    """Seconds from start to end, of attempts that were neither cancelled nor lost."""
    run_sketch = models.BinaryField(null=True)
    """Seconds from start to end, of runs that succeeded or failed."""
    ready_sketch = models.BinaryField(null=True)
    """Seconds from the end of a step's code to the readiness of what waited for it."""

    class Meta:
        db_table = "rollup"
        indexes = (
            models.Index(fields=("width_s", "at"), name="rollup_age"),
            models.Index(
                fields=("tenant_id", "width_s", "at"),
                condition=models.Q(workflow_id__gt=0),
                name="rollup_busiest",
            ),
        )

    def __str__(self) -> str:
        return f"{self.tenant_id}/{self.workflow_id} {self.at:%H:%M:%S}+{self.width_s}"


class RollupCursor(Counts):
    """How far a tenant's events have been counted, and what they came to since the beginning.

    The cursor moves in the transaction that writes the buckets: each event counts exactly once.
    A histogram counts the values up to each bound of `HISTOGRAM_BOUNDS_S`, and at last all of them;
    empty: none was measured yet."""

    tenant_id = models.IntegerField(primary_key=True)
    seq = models.BigIntegerField(db_default=0)
    own = models.BooleanField(db_default=False)
    """Whether metrics show it under a label of its own; what the others do is added up in the row of
    tenant 0 as well, so that no counter falls when a tenant gets or loses its label."""
    connection_waits = models.BigIntegerField(db_default=0)
    """As the tenant's database told last: a copy, so that it counts like everything else."""
    connection_wait_s = models.FloatField(db_default=0.0)
    queue_histogram = ArrayField(models.BigIntegerField(), db_default=[])
    queue_sum_s = models.FloatField(db_default=0.0)
    attempt_histogram = ArrayField(models.BigIntegerField(), db_default=[])
    attempt_sum_s = models.FloatField(db_default=0.0)
    run_histogram = ArrayField(models.BigIntegerField(), db_default=[])
    run_sum_s = models.FloatField(db_default=0.0)
    ready_histogram = ArrayField(models.BigIntegerField(), db_default=[])
    ready_sum_s = models.FloatField(db_default=0.0)

    class Meta:
        db_table = "rollup_cursor"

    def __str__(self) -> str:
        return f"{self.tenant_id} at {self.seq}"


class TraceCursor(models.Model):
    """Up to which of a tenant's events spans were sent.  There are none where nothing is traced."""

    tenant_id = models.IntegerField(primary_key=True)
    seq = models.BigIntegerField()

    class Meta:
        db_table = "trace_cursor"

    def __str__(self) -> str:
        return f"{self.tenant_id} at {self.seq}"
