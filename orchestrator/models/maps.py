"""Maps: how far each one is, and the items that no batch has taken yet."""

from __future__ import annotations

from django.db import models


class MapState(models.Model):
    """A map step of a run, from its beginning on; kept as long as the run.

    Counts are of items, but for `started` and `in_flight`, which count batches.  Written under the
    tenant's mutex alone; no foreign keys, so that each batch's end touches one narrow row."""

    pk = models.CompositePrimaryKey("run_id", "ordinal")
    tenant_id = models.IntegerField()
    run_id = models.UUIDField()
    ordinal = models.IntegerField()
    version_id = models.BigIntegerField()
    batch_size = models.IntegerField()
    max_in_flight = models.IntegerField()
    mode = models.TextField()
    """What a failed item means: fail_fast, continue or max_failures."""
    max_failures = models.IntegerField(null=True)
    ordered = models.BooleanField()
    collect = models.BooleanField()
    max_bytes = models.BigIntegerField()
    """Largest output."""
    total = models.IntegerField(db_default=0)
    """Items known so far; of a streamed map it grows."""
    done = models.IntegerField(db_default=0)
    """Items that have ended, failed ones too."""
    failed = models.IntegerField(db_default=0)
    started = models.IntegerField(db_default=0)
    """Batches that have a row: 1 to `started`."""
    in_flight = models.IntegerField(db_default=0)
    """Batches that are ready, running or waiting."""
    source = models.TextField(null=True)
    """Of a streamed map: active (it reads, or is about to), idle (enough is stored) or done."""
    cursor = models.TextField(null=True)
    """The source's last durable cursor, as JSON."""
    epoch = models.IntegerField(db_default=0)
    """Where the fence of new batches begins: above that of an earlier pass over this step."""
    again = models.IntegerField(db_default=0)
    """Batches that failed before and have still to be tried again, at a compensation's wish: those
    behind `again_after` whose row has kept its items."""
    again_after = models.IntegerField(db_default=0)
    closing = models.TextField(null=True)
    """Why no batch starts any more: failed or cancel."""
    error = models.TextField(null=True)
    """The first failure, as JSON: the step's own if it fails."""
    errors = models.TextField(null=True)
    """When it has ended: the first 100 failed items, as JSON."""
    finished_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "map_state"
        constraints = (
            models.CheckConstraint(
                condition=models.Q(in_flight__gte=0, total__gte=0, done__gte=0, failed__gte=0),
                name="map_state_counts",
            ),
        )
        indexes = (
            models.Index(
                fields=("tenant_id",),
                condition=models.Q(finished_at__isnull=True),
                name="map_state_open",
            ),
        )

    def __str__(self) -> str:
        return f"{self.run_id}/{self.ordinal}"


class MapPack(models.Model):
    """Batches that have not started, some together: a JSON array of their arrays of items.

    Several small batches share a row, so that a million of them are some thousand rows; the row
    goes when its last batch starts."""

    pk = models.CompositePrimaryKey("run_id", "ordinal", "batch")
    tenant_id = models.IntegerField()
    run_id = models.UUIDField()
    ordinal = models.IntegerField()
    batch = models.IntegerField()
    """The first one in it."""
    count = models.IntegerField()
    batches = models.TextField()

    class Meta:
        db_table = "map_pack"

    def __str__(self) -> str:
        return f"{self.run_id}/{self.ordinal} from {self.batch}"
