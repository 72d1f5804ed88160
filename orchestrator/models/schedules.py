"""Schedules: what starts runs by the clock, and what became of each of their times."""

from __future__ import annotations

from django.db import models
from django.db.models.functions import Now

from orchestrator.domain.calendar import Missed
from orchestrator.domain.overlap import Overlap
from orchestrator.models.workflows import Workflow
from tenants.models import Tenant


class Schedule(models.Model):
    """When runs of a workflow begin by themselves, and with what.

    Either `cron` (in `zone`) or `interval` (from `anchor_at`).  `next_at` is the next nominal time,
    `look_at` when the clock looks at it next: then (with jitter), or sooner while times wait."""

    tenant = models.ForeignKey(
        Tenant, models.CASCADE, related_name="+", db_constraint=False, db_index=False
    )
    workflow = models.ForeignKey(
        Workflow, models.CASCADE, related_name="schedules", db_constraint=False
    )
    name = models.TextField()
    cron = models.TextField(null=True)
    zone = models.TextField(db_default="UTC")
    interval = models.DurationField(null=True)
    anchor_at = models.DateTimeField()
    start_at = models.DateTimeField(null=True)
    input = models.TextField(db_default="{}")
    labels = models.TextField(db_default="{}")
    priority = models.SmallIntegerField(null=True)
    overlap = models.TextField(db_default=Overlap.SKIP)
    overlap_limit = models.IntegerField(db_default=1)
    missed = models.TextField(db_default=Missed.ONE)
    missed_limit = models.IntegerField(db_default=1)
    jitter = models.DurationField()
    revision = models.IntegerField(db_default=1)
    """Grows with every edit: what was planned for an earlier one is not carried out."""
    next_at = models.DateTimeField(null=True)
    look_at = models.DateTimeField(null=True)
    paused_at = models.DateTimeField(null=True)
    paused_reason = models.TextField(blank=True, db_default="")
    created_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(db_default=Now())
    updated_by = models.TextField(blank=True, db_default="")

    class Meta:
        db_table = "schedule"
        constraints = (
            models.UniqueConstraint(fields=("tenant", "name"), name="schedule_name"),
            models.UniqueConstraint(fields=("tenant", "id"), name="schedule_tenant"),
            models.CheckConstraint(
                condition=models.Q(cron__isnull=False, interval__isnull=True)
                | models.Q(cron__isnull=True, interval__isnull=False),
                name="schedule_timing",
            ),
            models.CheckConstraint(
                condition=models.Q(overlap__in=list(Overlap)) & models.Q(missed__in=list(Missed)),
                name="schedule_policies",
            ),
            models.CheckConstraint(
                condition=models.Q(paused_at__isnull=True) | models.Q(look_at__isnull=True),
                name="schedule_paused_rests",
            ),
        )
        indexes = (
            models.Index(
                fields=("tenant", "look_at"),
                condition=models.Q(look_at__isnull=False),
                name="schedule_due_of_tenant",
            ),
            models.Index(
                fields=("look_at",), condition=models.Q(look_at__isnull=False), name="schedule_due"
            ),
        )

    def __str__(self) -> str:
        return self.name


class ScheduleFire(models.Model):
    """What became of one nominal time.  The key is what keeps two clocks from firing it twice.

    `outcome`: `started` (with its run), `waiting` (for an earlier run to end), `skipped`, `failed`
    (nothing could be started) or `missed` (this time, and `missed_count` in all since `since_at`)."""

    pk = models.CompositePrimaryKey("schedule", "nominal_at")
    tenant_id = models.IntegerField()
    schedule = models.ForeignKey(
        Schedule, models.CASCADE, related_name="fires", db_constraint=False, db_index=False
    )
    nominal_at = models.DateTimeField()
    decided_at = models.DateTimeField(db_default=Now())
    outcome = models.TextField()
    reason = models.TextField(null=True)
    detail = models.TextField(null=True)
    run_id = models.UUIDField(null=True)
    is_active = models.BooleanField(db_default=False)
    """Its run is not known to have ended."""
    missed_count = models.IntegerField(db_default=0)
    since_at = models.DateTimeField(null=True)
    made_up = models.BooleanField(db_default=False)
    backfill_id = models.UUIDField(null=True)

    class Meta:
        db_table = "schedule_fire"
        constraints = (
            models.CheckConstraint(
                condition=models.Q(
                    outcome__in=("started", "waiting", "skipped", "failed", "missed")
                ),
                name="schedule_fire_outcome",
            ),
            models.CheckConstraint(
                condition=models.Q(outcome="started", run_id__isnull=False)
                | models.Q(~models.Q(outcome="started"), run_id__isnull=True, is_active=False),
                name="schedule_fire_run",
            ),
        )
        indexes = (
            models.Index(
                fields=("schedule", "nominal_at"),
                condition=models.Q(outcome="waiting"),
                name="schedule_fire_waiting",
            ),
            models.Index(
                fields=("schedule",),
                condition=models.Q(is_active=True),
                name="schedule_fire_active",
            ),
            models.Index(
                fields=("tenant_id", "run_id"),
                condition=models.Q(run_id__isnull=False),
                name="schedule_fire_of_run",
            ),
            models.Index(
                fields=("schedule", "backfill_id"),
                condition=models.Q(backfill_id__isnull=False),
                name="schedule_fire_backfill",
            ),
            models.Index(fields=("decided_at",), name="schedule_fire_age"),
        )

    def __str__(self) -> str:
        return f"{self.schedule_id} {self.nominal_at:%Y-%m-%d %H:%M:%S} {self.outcome}"
