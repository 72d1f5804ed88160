"""What tenants use, by minute, five minutes and hour: measured, where rollups are counted from events."""

from __future__ import annotations

from django.db import models
from django.db.models.functions import Now


class Usage(models.Model):
    """What a tenant used in `width_s` seconds from `at` on; no row where it did nothing.

    The clock looks at every tenant's load twice a second, web processes tell of their requests.
    Without foreign keys, like the rollups beside it."""

    pk = models.CompositePrimaryKey("tenant_id", "width_s", "at")
    tenant_id = models.IntegerField()
    width_s = models.IntegerField()
    at = models.DateTimeField()
    entitled_s = models.FloatField(db_default=0.0)
    """Seconds of connections that were its due: by weight, as far as it had work."""
    received_s = models.FloatField(db_default=0.0)
    """Seconds of connections that it held."""
    peak_connections = models.IntegerField(db_default=0)
    peak_active_runs = models.IntegerField(db_default=0)
    peak_waiting_steps = models.IntegerField(db_default=0)
    storage_bytes = models.BigIntegerField(db_default=0)
    """The most that was kept."""
    requests = models.BigIntegerField(db_default=0)
    """Requests with one of its keys."""
    bytes = models.BigIntegerField(db_default=0)
    """Of these requests' and their answers' bodies."""

    class Meta:
        db_table = "usage"
        indexes = (models.Index(fields=("width_s", "at"), name="usage_age"),)

    def __str__(self) -> str:
        return f"{self.tenant_id} {self.at:%H:%M:%S}+{self.width_s}"


class Storage(models.Model):
    """Bytes of payloads that a tenant keeps beside its rows, as they were counted last."""

    tenant_id = models.IntegerField(primary_key=True)
    bytes = models.BigIntegerField(db_default=0)
    measured_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "storage"

    def __str__(self) -> str:
        return f"{self.tenant_id}: {self.bytes}"
