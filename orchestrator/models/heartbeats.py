"""Signs of life of running steps, apart from the step runs: written often, read seldom."""

from __future__ import annotations

from django.db import models


class Heartbeat(models.Model):
    """When a step run was last heard of, and the progress that it told (JSON text)."""

    pk = models.CompositePrimaryKey("run_id", "ordinal", "batch")
    tenant_id = models.IntegerField()
    run_id = models.UUIDField()
    ordinal = models.IntegerField()
    batch = models.IntegerField(db_default=0)
    epoch = models.IntegerField()
    """The claim that it belongs to; a later claim's is never covered by an earlier one's."""
    at = models.DateTimeField()
    progress = models.TextField(null=True)

    class Meta:
        db_table = "heartbeat"

    def __str__(self) -> str:
        return f"{self.run_id}/{self.ordinal} {self.at:%H:%M:%S}"
