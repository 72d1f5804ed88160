"""Signals that were sent to runs: buffered until a step takes them, remembered by their dedup keys."""

from __future__ import annotations

from django.db import models
from django.db.models.functions import Now


class Signal(models.Model):
    """A signal.  One without a dedup key is deleted when it is taken; one with a key stays, so that
    the same key is known again, without its payload.

    Written by `store/sql` alone, and deleted with its run."""

    tenant_id = models.IntegerField()
    run_id = models.UUIDField()
    name = models.TextField()
    dedup_key = models.TextField(null=True)
    payload = models.TextField(null=True)
    """JSON as text; null once it was taken."""
    received_at = models.DateTimeField(db_default=Now())
    taken_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "signal"
        constraints = (
            models.UniqueConstraint(
                fields=("run_id", "name", "dedup_key"),
                condition=models.Q(dedup_key__isnull=False),
                name="signal_dedup",
            ),
        )
        indexes = (models.Index(fields=("run_id", "name", "id"), name="signal_of_run"),)

    def __str__(self) -> str:
        return f"{self.name} of {self.run_id}"
