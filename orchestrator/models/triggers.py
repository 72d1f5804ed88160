"""Triggers: signed requests from outside that start runs, and what became of each."""

from __future__ import annotations

from django.db import models
from django.db.models.functions import Now

from orchestrator.domain.webhooks import Scheme
from orchestrator.models.workflows import Workflow
from tenants.models import Tenant


class Trigger(models.Model):
    """An address that starts a run for every request that its secret signed.

    `secret` and `previous` are sealed (tenants.sealing); `previous` still counts until
    `previous_until`.  `full_at` is when the rate's allowance is whole again (GCRA in one moment)."""

    tenant = models.ForeignKey(
        Tenant, models.CASCADE, related_name="+", db_constraint=False, db_index=False
    )
    workflow = models.ForeignKey(
        Workflow, models.CASCADE, related_name="triggers", db_constraint=False
    )
    name = models.TextField()
    scheme = models.TextField(db_default=Scheme.MILLRACE)
    secret = models.BinaryField()
    previous = models.BinaryField(null=True)
    previous_until = models.DateTimeField(null=True)
    input = models.TextField(null=True)
    """A JSON template over `body` and `headers`; null: the whole body."""
    labels = models.TextField(db_default="{}")
    priority = models.SmallIntegerField(null=True)
    dedup_key = models.TextField(null=True)
    rate_count = models.IntegerField()
    rate_period = models.DurationField()
    full_at = models.DateTimeField(null=True)
    enabled = models.BooleanField(db_default=True)
    refused_count = models.BigIntegerField(db_default=0)
    """Requests refused for their signature or time, counted at most once a second."""
    refused_at = models.DateTimeField(null=True)
    refused_reason = models.TextField(null=True)
    created_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(db_default=Now())
    updated_by = models.TextField(blank=True, db_default="")

    class Meta:
        db_table = "trigger"
        constraints = (
            models.UniqueConstraint(fields=("tenant", "name"), name="trigger_name"),
            models.UniqueConstraint(fields=("tenant", "id"), name="trigger_tenant"),
            models.CheckConstraint(
                condition=models.Q(scheme__in=list(Scheme)), name="trigger_scheme"
            ),
        )

    def __str__(self) -> str:
        return self.name


class TriggerDelivery(models.Model):
    """What became of one signed request: `started` or `duplicate` (with its run), or `failed`."""

    tenant_id = models.IntegerField()
    trigger = models.ForeignKey(
        Trigger, models.CASCADE, related_name="deliveries", db_constraint=False, db_index=False
    )
    at = models.DateTimeField(db_default=Now())
    outcome = models.TextField()
    code = models.TextField(null=True)
    detail = models.TextField(null=True)
    run_id = models.UUIDField(null=True)
    size_bytes = models.IntegerField()
    origin = models.TextField(blank=True, db_default="")

    class Meta:
        db_table = "trigger_delivery"
        constraints = (
            models.CheckConstraint(
                condition=models.Q(outcome__in=("started", "duplicate"), run_id__isnull=False)
                | models.Q(outcome="failed", run_id__isnull=True),
                name="trigger_delivery_outcome",
            ),
        )
        indexes = (
            models.Index(fields=("trigger", "-id"), name="trigger_delivery_newest"),
            models.Index(fields=("at",), name="trigger_delivery_age"),
        )

    def __str__(self) -> str:
        return f"{self.trigger_id} {self.outcome}"
