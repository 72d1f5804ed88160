"""Where alerts are told, what is to be told, and when nobody is."""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.functions import Now
from uuid_utils.compat import uuid7

from orchestrator.domain.channels import Kind, Notice, Outcome
from orchestrator.domain.observations import Severity
from orchestrator.models.alerts import Alert
from tenants.models import Tenant


class Channel(models.Model):
    """A way to people: which alerts go there, and how.

    `tenant` null: the server's, for its own alerts.  `sealed` (tenants.sealing) is JSON with what
    nobody sees again: `url` and, of a webhook, `secret`.  `place` is what may be shown of it."""

    tenant = models.ForeignKey(Tenant, models.CASCADE, null=True, related_name="+", db_index=False)
    name = models.TextField()
    kind = models.TextField()
    to = ArrayField(models.TextField(), db_default=[])
    """E-mail addresses."""
    sealed = models.BinaryField(null=True)
    place = models.TextField(blank=True, db_default="")
    severity = models.TextField(db_default=Severity.WARNING)
    matchers = models.TextField(db_default="{}")
    group_by = ArrayField(models.TextField(), db_default=["rule"])
    group_wait = models.DurationField()
    repeat_every = models.DurationField(null=True)
    tell_resolved = models.BooleanField(db_default=True)
    enabled = models.BooleanField(db_default=True)
    created_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(db_default=Now())
    updated_by = models.TextField(blank=True, db_default="")

    class Meta:
        db_table = "channel"
        constraints = (
            models.UniqueConstraint(
                fields=("tenant", "name"), name="channel_name", nulls_distinct=False
            ),
            models.UniqueConstraint(fields=("tenant", "id"), name="channel_tenant"),
            models.CheckConstraint(
                condition=models.Q(kind=Kind.EMAIL, sealed__isnull=True)
                | models.Q(kind__in=(Kind.WEBHOOK, Kind.SLACK, Kind.APPRISE), sealed__isnull=False),
                name="channel_kind",
            ),
        )

    def __str__(self) -> str:
        return self.name


class Notification(models.Model):
    """A message to a channel: the outbox.

    It collects the alerts of a group until `next_at`; then it is sent, again and again until it was
    answered, or given up.  While `claimed_until` lies ahead somebody sends it.  `id` is what receivers
    get as its idempotency key."""

    id = models.UUIDField(primary_key=True, default=uuid7)
    tenant_id = models.IntegerField(null=True)
    channel = models.ForeignKey(
        Channel, models.CASCADE, related_name="notifications", db_constraint=False, db_index=False
    )
    notice = models.TextField()
    group_key = models.TextField(db_default="[]")
    alert_ids = ArrayField(models.UUIDField(), db_default=[])
    state = models.TextField(db_default=Outcome.COLLECTING)
    attempt_count = models.IntegerField(db_default=0)
    next_at = models.DateTimeField(null=True)
    claimed_until = models.DateTimeField(null=True)
    answer = models.TextField(blank=True, db_default="")
    created_at = models.DateTimeField(db_default=Now())
    ended_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "notification"
        constraints = (
            models.UniqueConstraint(
                fields=("channel", "notice", "group_key"),
                condition=models.Q(state=Outcome.COLLECTING),
                name="notification_collecting",
            ),
            models.CheckConstraint(
                condition=models.Q(notice__in=sorted(Notice)), name="notification_notice"
            ),
            models.CheckConstraint(
                condition=models.Q(
                    state__in=(Outcome.COLLECTING, Outcome.SENDING),
                    next_at__isnull=False,
                    ended_at__isnull=True,
                )
                | models.Q(
                    state__in=(Outcome.SENT, Outcome.FAILED, Outcome.DROPPED),
                    next_at__isnull=True,
                    ended_at__isnull=False,
                ),
                name="notification_state",
            ),
        )
        indexes = (
            models.Index(
                fields=("next_at",),
                condition=models.Q(state__in=(Outcome.COLLECTING, Outcome.SENDING)),
                name="notification_due",
            ),
            models.Index(fields=("channel", "-id"), name="notification_newest"),
            models.Index(
                fields=("ended_at",),
                condition=models.Q(ended_at__isnull=False),
                name="notification_age",
            ),
        )

    def __str__(self) -> str:
        return f"{self.id} {self.state}"


class NotificationTotal(models.Model):
    """Messages that ended, counted for ever."""

    pk = models.CompositePrimaryKey("kind", "outcome")
    kind = models.TextField()
    outcome = models.TextField()
    count = models.BigIntegerField(db_default=0)

    class Meta:
        db_table = "notification_total"

    def __str__(self) -> str:
        return f"{self.kind} {self.outcome}"


class AlertDelivery(models.Model):
    """That a channel got the alarm of an alert: it gets the repeats and the end of it too.

    One that did not take it, or was off, has no `told_at`: it is tried anew at `repeat_at`."""

    pk = models.CompositePrimaryKey("alert_id", "channel_id")
    tenant_id = models.IntegerField(null=True)
    alert = models.ForeignKey(
        Alert, models.CASCADE, related_name="deliveries", db_constraint=False, db_index=False
    )
    channel = models.ForeignKey(
        Channel, models.CASCADE, related_name="deliveries", db_constraint=False
    )
    told_at = models.DateTimeField(null=True)
    repeat_at = models.DateTimeField(null=True)
    end_told = models.BooleanField(db_default=False)
    """Its end is in the outbox, or was told."""

    class Meta:
        db_table = "alert_delivery"
        indexes = (
            models.Index(
                fields=("repeat_at",),
                condition=models.Q(repeat_at__isnull=False),
                name="alert_delivery_repeat",
            ),
        )

    def __str__(self) -> str:
        return f"{self.alert_id} to {self.channel_id}"


class Silence(models.Model):
    """Nobody is told of alerts that match, from `starts_at` to `ends_at`."""

    id = models.UUIDField(primary_key=True, default=uuid7)
    tenant = models.ForeignKey(Tenant, models.CASCADE, null=True, related_name="+", db_index=False)
    matchers = models.TextField()
    reason = models.TextField()
    author = models.TextField()
    starts_at = models.DateTimeField()
    ends_at = models.DateTimeField()
    """Moved to the present where a person ends it before its time."""
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "silence"
        constraints = (
            models.CheckConstraint(
                condition=models.Q(ends_at__gte=models.F("starts_at")), name="silence_span"
            ),
        )
        indexes = (
            models.Index(fields=("tenant", "-ends_at", "-id"), name="silence_page"),
            models.Index(fields=("ends_at",), name="silence_end"),
        )

    def __str__(self) -> str:
        return f"{self.matchers} until {self.ends_at}"


class MaintenanceWindow(models.Model):
    """Nobody is told of alerts that match while it is open: again and again (`cron`, `duration`), or once."""

    tenant = models.ForeignKey(Tenant, models.CASCADE, null=True, related_name="+", db_index=False)
    name = models.TextField()
    matchers = models.TextField()
    reason = models.TextField(blank=True, db_default="")
    cron = models.TextField(null=True)
    zone = models.TextField(db_default="UTC")
    duration = models.DurationField(null=True)
    starts_at = models.DateTimeField(null=True)
    ends_at = models.DateTimeField(null=True)
    enabled = models.BooleanField(db_default=True)
    created_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(db_default=Now())
    updated_by = models.TextField(blank=True, db_default="")

    class Meta:
        db_table = "maintenance_window"
        constraints = (
            models.UniqueConstraint(
                fields=("tenant", "name"), name="maintenance_window_name", nulls_distinct=False
            ),
            models.CheckConstraint(
                condition=models.Q(
                    cron__isnull=False,
                    duration__isnull=False,
                    starts_at__isnull=True,
                    ends_at__isnull=True,
                )
                | models.Q(
                    cron__isnull=True,
                    duration__isnull=True,
                    starts_at__isnull=False,
                    ends_at__gt=models.F("starts_at"),
                ),
                name="maintenance_window_timing",
            ),
        )

    def __str__(self) -> str:
        return self.name
