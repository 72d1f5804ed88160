"""What handlers logged by `ctx.log`: one row per line, in the order in which a run's lines committed."""

from __future__ import annotations

from django.db import models


class AttemptLog(models.Model):
    """Append-only, partitioned by day, without foreign keys; within a run `id` is the line's position.

    The table is made by the migration's own SQL (Django cannot declare partitions)."""

    id = models.BigIntegerField(primary_key=True)
    tenant_id = models.IntegerField()
    at = models.DateTimeField()
    run_id = models.UUIDField()
    ordinal = models.IntegerField()
    batch = models.IntegerField()
    epoch = models.IntegerField()
    """Of the claim, which an attempt that was lost shares with no other."""
    attempt = models.IntegerField()
    line = models.IntegerField()
    """Counts an attempt's lines, from 1."""
    level = models.SmallIntegerField()
    """As Python's logging counts: 10 debug … 50 critical."""
    message = models.TextField()
    fields = models.TextField(null=True)
    """JSON text of an object."""

    class Meta:
        db_table = "attempt_log"
        managed = False

    def __str__(self) -> str:
        return f"{self.id} {self.message[:60]}"
