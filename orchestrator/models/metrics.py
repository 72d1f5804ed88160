"""What is counted of the events: buckets of time for charts, and totals since the beginning."""

from __future__ import annotations

from django.db import models


class Counts(models.Model):
    """How many transitions of each kind; columns shared by buckets and totals."""

    submitted = models.BigIntegerField(db_default=0)
    runs_succeeded = models.BigIntegerField(db_default=0)
    runs_failed = models.BigIntegerField(db_default=0)
    runs_cancelled = models.BigIntegerField(db_default=0)
    attempts = models.BigIntegerField(db_default=0)
    """Steps started: every claim, so retries and repeats after a loss too."""
    steps_succeeded = models.BigIntegerField(db_default=0)
    steps_failed = models.BigIntegerField(db_default=0)
    steps_skipped = models.BigIntegerField(db_default=0)
    steps_cancelled = models.BigIntegerField(db_default=0)
    retries = models.BigIntegerField(db_default=0)
    losses = models.BigIntegerField(db_default=0)
    worker_s = models.FloatField(db_default=0.0)
    """Seconds that connections were held."""

    class Meta:
        abstract = True


COUNTS = tuple(field.name for field in Counts._meta.local_fields)


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

    class Meta:
        db_table = "rollup"
        indexes = (models.Index(fields=("width_s", "at"), name="rollup_age"),)

    def __str__(self) -> str:
        return f"{self.tenant_id}/{self.workflow_id} {self.at:%H:%M:%S}+{self.width_s}"


class RollupCursor(Counts):
    """How far a tenant's events have been counted, and what they came to since the beginning.

    The cursor moves in the transaction that writes the buckets: each event counts exactly once."""

    tenant_id = models.IntegerField(primary_key=True)
    seq = models.BigIntegerField(db_default=0)

    class Meta:
        db_table = "rollup_cursor"

    def __str__(self) -> str:
        return f"{self.tenant_id} at {self.seq}"
