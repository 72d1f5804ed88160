"""What happened: one row per transition, in the order of each tenant's commits.  Also the outbox."""

from __future__ import annotations

from django.db import models


class Event(models.Model):
    """Append-only, partitioned by day, without foreign keys; `(tenant_id, seq)` is its position.

    The table is made by the migration's own SQL (Django cannot declare partitions)."""

    pk = models.CompositePrimaryKey("tenant_id", "seq")
    tenant_id = models.IntegerField()
    seq = models.BigIntegerField()
    at = models.DateTimeField()
    type = models.TextField()
    run_id = models.UUIDField(null=True)
    ordinal = models.IntegerField(null=True)
    batch = models.IntegerField(null=True)
    attempt = models.IntegerField(null=True)
    worker_id = models.IntegerField(null=True)
    value_s = models.FloatField(null=True)
    """Seconds: queue latency of a start, duration of an end."""
    lag_s = models.FloatField(null=True)
    """Of an attempt's end: seconds from the end of its code to this event's moment, in which whatever
    waited for it is made ready."""
    actor = models.TextField(null=True)
    data = models.TextField(null=True)

    class Meta:
        db_table = "event"
        managed = False

    def __str__(self) -> str:
        return f"{self.seq} {self.type}"
