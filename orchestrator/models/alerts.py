"""Alerts, and everything that became of each."""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.functions import Coalesce, Now
from uuid_utils.compat import uuid7

from orchestrator.domain.alerts import ALARMED, OPEN, AlertState
from orchestrator.domain.observations import Severity
from tenants.models import Tenant

_OPEN = sorted(OPEN)
_FIRED = models.Q(fired_at__isnull=False)


class Alert(models.Model):
    """A rule that is bad for one set of labels, from its first bad look to its end.

    `tenant` null: the server's own, for staff.  `labels` is JSON text with sorted keys, `fingerprint`
    its digest.  At most one alert of a rule and its labels is open (`alert_open`).  Written by SQL in
    store.alerts, under the tenant's mutex."""

    id = models.UUIDField(primary_key=True, default=uuid7)
    tenant = models.ForeignKey(Tenant, models.CASCADE, null=True, related_name="+", db_index=False)
    rule = models.TextField()
    labels = models.TextField(db_default="{}")
    fingerprint = models.TextField()
    workflow = models.TextField(null=True)
    """The label of that name, to look for."""
    name = models.TextField()
    severity = models.TextField()
    state = models.TextField()
    value = models.FloatField(null=True)
    threshold = models.FloatField(null=True)
    unit = models.TextField(blank=True, db_default="")
    summary = models.TextField()
    run_ids = ArrayField(models.UUIDField(), db_default=[])
    muted_by = models.TextField(null=True)
    """What keeps people from being told: `silence:<id>`, `window:<name>`, `alert:<rule>`."""
    started_at = models.DateTimeField()
    """Its first bad look: since when it was pending."""
    good_since = models.DateTimeField(null=True)
    fired_at = models.DateTimeField(null=True)
    acknowledged_at = models.DateTimeField(null=True)
    acknowledged_by = models.TextField(null=True)
    resolved_at = models.DateTimeField(null=True)
    resolved_by = models.TextField(null=True)
    """The person who resolved it; null: it became good, or its rule is gone."""

    class Meta:
        db_table = "alert"
        constraints = (
            models.UniqueConstraint(
                Coalesce("tenant_id", 0),
                "rule",
                "fingerprint",
                condition=models.Q(state__in=_OPEN),
                name="alert_open",
            ),
            models.UniqueConstraint(fields=("tenant", "id"), name="alert_tenant"),
            models.CheckConstraint(
                condition=models.Q(state__in=sorted(AlertState)), name="alert_state"
            ),
            models.CheckConstraint(
                condition=models.Q(severity__in=sorted(Severity)), name="alert_severity"
            ),
            models.CheckConstraint(
                condition=models.Q(state__in=_OPEN, resolved_at__isnull=True)
                | models.Q(~models.Q(state__in=_OPEN), resolved_at__isnull=False),
                name="alert_ended",
            ),
            models.CheckConstraint(
                condition=models.Q(_FIRED, state__in=sorted(ALARMED | {AlertState.RESOLVED}))
                | models.Q(~_FIRED, state__in=(AlertState.OK, AlertState.PENDING)),
                name="alert_fired",
            ),
            models.CheckConstraint(
                condition=~models.Q(state=AlertState.ACKNOWLEDGED)
                | models.Q(acknowledged_at__isnull=False, acknowledged_by__isnull=False),
                name="alert_acknowledged",
            ),
        )
        indexes = (
            models.Index(fields=("tenant", "-started_at", "-id"), name="alert_page"),
            models.Index(
                fields=("tenant", "state"),
                condition=models.Q(state__in=sorted(ALARMED)),
                name="alert_alarmed",
            ),
            models.Index(
                fields=("resolved_at",), condition=~models.Q(state__in=_OPEN), name="alert_age"
            ),
        )

    def __str__(self) -> str:
        return f"{self.name} {self.state}"


class AlertChange(models.Model):
    """A line of an alert's timeline: a move, what a person did, a notification, a mute."""

    tenant_id = models.IntegerField(null=True)
    alert = models.ForeignKey(
        Alert, models.CASCADE, related_name="changes", db_constraint=False, db_index=False
    )
    at = models.DateTimeField(db_default=Now())
    kind = models.TextField()
    """A state, or `escalated`, `muted`, `unmuted`, `notified`, `not_notified`."""
    actor = models.TextField(blank=True, db_default="")
    detail = models.TextField(blank=True, db_default="")

    class Meta:
        db_table = "alert_change"
        indexes = (models.Index(fields=("alert", "id"), name="alert_change_order"),)

    def __str__(self) -> str:
        return f"{self.alert_id} {self.kind}"
