"""The engine's own rows: the mutex and load of each tenant, the server's total, work for Python."""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.functions import Now


class TenantLoad(models.Model):
    """The mutex of a tenant: locked first by every writer of run state, and what it guards.

    No index but the key, no foreign keys, fillfactor 30: every write stays on its page."""

    tenant_id = models.IntegerField(primary_key=True)
    in_use = models.IntegerField(db_default=0)
    """Connections held: running step runs and holds."""
    ready_count = models.IntegerField(db_default=0)
    """Step runs that are ready and not parked."""
    control_count = models.IntegerField(db_default=0)
    paused_count = models.IntegerField(db_default=0)
    """Paused runs and workflows: while it is 0, claims need not ask whether a run is paused."""
    active_runs = models.IntegerField(db_default=0)
    """Runs that have not ended, child runs too."""
    submit_at = models.DateTimeField(null=True)
    """When the allowance of `submissions_per_minute` is whole again (GCRA); null: it is."""
    seq = models.BigIntegerField(db_default=0)
    """Position of the tenant's last event."""
    vtime = models.FloatField(db_default=0.0)
    """Worker-seconds per weight received: the tenant's place in start-time fair queuing."""
    hint_queues = ArrayField(models.TextField(), db_default=[])
    hinted_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "tenant_load"
        constraints = (
            models.CheckConstraint(
                condition=models.Q(
                    in_use__gte=0, ready_count__gte=0, control_count__gte=0, active_runs__gte=0
                ),
                name="tenant_load_counts",
            ),
        )

    def __str__(self) -> str:
        return f"load of tenant {self.tenant_id}"


class ServerLoad(models.Model):
    """The server's total.  Slot -1 is counted up by claims, slots 0 to 15 by what gives back;
    in use = claimed - sum(released).  Slot -1 also carries the limit and the virtual clock."""

    slot = models.SmallIntegerField(primary_key=True)
    amount = models.BigIntegerField(db_default=0)
    vclock = models.FloatField(db_default=0.0)
    max_connections = models.IntegerField(db_default=100)

    class Meta:
        db_table = "server_load"
        verbose_name = "server limit"
        constraints = (
            models.CheckConstraint(
                condition=models.Q(amount__gte=0, max_connections__gte=0), name="server_load_counts"
            ),
        )

    def __str__(self) -> str:
        return "This server" if self.slot == -1 else f"slot {self.slot}"


class Control(models.Model):
    """Work that needs Python before a step may run or a run may end; takes no connection."""

    pk = models.CompositePrimaryKey("run_id", "ordinal", "batch")
    tenant_id = models.IntegerField()
    run_id = models.UUIDField()
    ordinal = models.IntegerField()
    """The step, or -1: the run's output."""
    batch = models.IntegerField(db_default=0)
    kind = models.TextField()
    epoch = models.IntegerField(db_default=0)
    created_at = models.DateTimeField(db_default=Now())
    taken_at = models.DateTimeField(null=True)
    held = models.BooleanField(db_default=False)
    """Its run is paused: nobody takes it, and `control_count` leaves it out."""

    class Meta:
        db_table = "control"
        indexes = (
            models.Index(
                fields=("tenant_id",), condition=models.Q(held=False), name="control_tenant"
            ),
            models.Index(fields=("tenant_id",), condition=models.Q(held=True), name="control_held"),
        )

    def __str__(self) -> str:
        return f"{self.run_id}/{self.ordinal} {self.kind}"


class Hold(models.Model):
    """A connection that is still held by code whose attempt is already over (stuck blocking code)."""

    pk = models.CompositePrimaryKey("run_id", "ordinal", "batch")
    tenant_id = models.IntegerField()
    run_id = models.UUIDField()
    ordinal = models.IntegerField()
    batch = models.IntegerField(db_default=0)
    worker_id = models.IntegerField()
    pool_id = models.IntegerField(null=True)
    """The pool of which it still holds a place."""
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "hold"
        indexes = (models.Index(fields=("worker_id",), name="hold_worker"),)

    def __str__(self) -> str:
        return f"{self.run_id}/{self.ordinal}"
