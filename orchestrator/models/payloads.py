"""What is too large for a row: JSON texts kept compressed beside the rows, or as objects elsewhere."""

from __future__ import annotations

from django.contrib.postgres.functions import RandomUUID
from django.db import models
from django.db.models.functions import Now


class Payload(models.Model):
    """A JSON text of more than 8 KiB, which rows refer to (see `store.payloads`).

    It goes with its run; a cached one (`cache_key`, no run) with its entry.  `data` is the text,
    compressed; of more than 1 MiB it lies in the storage, under `object_key`.  `body` is a part of a
    map's output that SQL has put together: values between commas, some of which may be references."""

    id = models.UUIDField(primary_key=True, db_default=RandomUUID())
    tenant_id = models.IntegerField()
    run_id = models.UUIDField(null=True)
    cache_key = models.TextField(null=True)
    size = models.BigIntegerField()
    """Bytes of the text in UTF-8."""
    data = models.BinaryField(null=True)
    object_key = models.TextField(null=True)
    body = models.TextField(null=True)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "payload"
        constraints = (
            models.CheckConstraint(
                condition=models.Q(data__isnull=False, object_key__isnull=True, body__isnull=True)
                | models.Q(data__isnull=True, object_key__isnull=False, body__isnull=True)
                | models.Q(data__isnull=True, object_key__isnull=True, body__isnull=False),
                name="payload_one_place",
            ),
            models.CheckConstraint(
                condition=models.Q(run_id__isnull=False, cache_key__isnull=True)
                | models.Q(run_id__isnull=True, cache_key__isnull=False),
                name="payload_one_owner",
            ),
        )
        indexes = (
            models.Index(
                fields=("run_id",), condition=models.Q(run_id__isnull=False), name="payload_run"
            ),
            models.Index(fields=("tenant_id",), include=("size",), name="payload_sizes"),
            models.Index(
                fields=("tenant_id", "cache_key"),
                condition=models.Q(cache_key__isnull=False),
                name="payload_cache",
            ),
            models.Index(
                fields=("object_key",),
                condition=models.Q(object_key__isnull=False),
                name="payload_object",
            ),
        )

    def __str__(self) -> str:
        return f"{self.id} ({self.size} bytes)"


class StoredObject(models.Model):
    """An object in the storage: written down before it is made, forgotten after it is deleted, so
    that none is left over whatever dies in between."""

    key = models.TextField(primary_key=True)
    created_at = models.DateTimeField(db_default=Now())
    orphaned_at = models.DateTimeField(null=True)
    """When no payload was seen to need it."""

    class Meta:
        db_table = "stored_object"

    def __str__(self) -> str:
        return self.key


class SpentRun(models.Model):
    """A run that succeeded and whose steps' outputs nobody needs: the clock drops them."""

    run_id = models.UUIDField(primary_key=True)
    tenant_id = models.IntegerField()

    class Meta:
        db_table = "spent_run"

    def __str__(self) -> str:
        return str(self.run_id)
