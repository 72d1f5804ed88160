"""Pools: named limits that steps share, of a tenant or of the whole server."""

from __future__ import annotations

from django.db import models
from django.db.models.functions import Now

from tenants.models import Tenant


class Pool(models.Model):
    """At most `max_places` steps that name it run at once, over all workers.

    A tenant's pool hides the server's of the same name (`tenant` null) from its steps.  The engine
    reads and writes this row by SQL: `in_use` counts running step runs and holds that have its
    `pool_id`, and is guarded by this row's lock, which comes after the tenants' mutexes."""

    id = models.AutoField(primary_key=True)
    tenant = models.ForeignKey(
        Tenant, models.CASCADE, null=True, related_name="pools", db_index=False
    )
    name = models.TextField(db_collation="C")
    max_places = models.IntegerField()
    """The contract's `limit`; 0: paused."""
    in_use = models.IntegerField(db_default=0)
    rate = models.TextField(blank=True, db_default="", default="")
    """As it was written: `100/1m`; empty: none."""
    rate_step = models.DurationField(null=True)
    rate_slack = models.DurationField(null=True)
    next_at = models.DateTimeField(null=True)
    """The rate's next even start; see `domain.rates`."""
    created_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "pool"
        constraints = (
            models.UniqueConstraint(
                fields=("tenant", "name"), name="pool_name", nulls_distinct=False
            ),
            models.CheckConstraint(
                condition=models.Q(max_places__gte=0, in_use__gte=0), name="pool_counts"
            ),
            models.CheckConstraint(
                condition=models.Q(rate="", rate_step__isnull=True, rate_slack__isnull=True)
                | models.Q(~models.Q(rate=""), rate_step__isnull=False, rate_slack__isnull=False),
                name="pool_rate",
            ),
        )

    def __str__(self) -> str:
        return self.name


class Breaker(models.Model):
    """A host that `core.http` steps of a tenant fail to reach; there is no row for one that answers.

    closed: failures are counted; open: nothing is sent until `retry_at`; half_open: one step tries
    (until `retry_at`, when another may, should that one be lost)."""

    pk = models.CompositePrimaryKey("tenant", "host")
    tenant = models.ForeignKey(Tenant, models.CASCADE, related_name="breakers", db_index=False)
    host = models.TextField(db_collation="C")
    state = models.TextField(db_default="closed")
    failures = models.IntegerField(db_default=0)
    """In a row."""
    opened_at = models.DateTimeField(null=True)
    retry_at = models.DateTimeField(null=True)
    updated_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "breaker"
        constraints = (
            models.CheckConstraint(
                condition=models.Q(state="closed", retry_at__isnull=True)
                | models.Q(state__in=("open", "half_open"), retry_at__isnull=False),
                name="breaker_state",
            ),
        )

    def __str__(self) -> str:
        return self.host
