"""What was given up, and what is done about many of them: dead letters and bulk actions.

Both are written by the statements in `store/sql` alone, but for an action's first row."""

from __future__ import annotations

from django.db import models
from django.db.models.functions import Now

from orchestrator.models.runs import Run
from orchestrator.models.workflows import Workflow, WorkflowVersion
from tenants.models import Tenant


class DeadLetter(models.Model):
    """A step run that was given up: it failed for good, nothing handled that, and its run failed.

    The row goes when the step is retried, completed or skipped, or when its run is forgotten."""

    id = models.BigAutoField(primary_key=True)
    tenant = models.ForeignKey(
        Tenant, models.CASCADE, related_name="+", db_index=False, db_constraint=False
    )
    run = models.ForeignKey(
        Run, models.CASCADE, related_name="+", db_index=False, db_constraint=False
    )
    ordinal = models.IntegerField()
    workflow = models.ForeignKey(
        Workflow, models.CASCADE, related_name="+", db_index=False, db_constraint=False
    )
    version = models.ForeignKey(
        WorkflowVersion, models.CASCADE, related_name="+", db_index=False, db_constraint=False
    )
    code = models.TextField()
    type = models.TextField(null=True)
    message = models.TextField()
    """At most 500 characters; the step keeps the whole error."""
    fingerprint = models.TextField()
    """The same for errors that differ in numbers, ids and quoted words alone."""
    attempts = models.IntegerField()
    losses = models.SmallIntegerField()
    failed_at = models.DateTimeField()

    class Meta:
        db_table = "dead_letter"
        constraints = (
            models.UniqueConstraint(fields=("tenant", "run", "ordinal"), name="dead_letter_step"),
        )
        indexes = (
            models.Index(fields=("tenant", "-failed_at", "-id"), name="dead_letter_newest"),
            models.Index(
                fields=("tenant", "fingerprint", "-failed_at", "-id"), name="dead_letter_group"
            ),
        )

    def __str__(self) -> str:
        return f"{self.run_id}/{self.ordinal} {self.code}"


class Action(models.Model):
    """Something done to many things, frozen when it was asked for and worked off by the clock."""

    id = models.UUIDField(primary_key=True)
    tenant = models.ForeignKey(
        Tenant, models.CASCADE, related_name="+", db_index=False, db_constraint=False
    )
    kind = models.TextField()
    """What it does: `dead_letters.retry`."""
    filter = models.TextField()
    """What it was asked for, as JSON."""
    actor = models.TextField()
    total = models.IntegerField()
    done_count = models.IntegerField(db_default=0)
    """Things that it did what it should to."""
    passed_count = models.IntegerField(db_default=0)
    """Things that were left alone, since what they are did not allow it any more."""
    rate_per_s = models.FloatField()
    due_at = models.DateTimeField(db_default=Now())
    created_at = models.DateTimeField(db_default=Now())
    finished_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "action"
        constraints = (
            models.UniqueConstraint(fields=("tenant", "id"), name="action_tenant"),
            models.CheckConstraint(
                condition=models.Q(total__gte=0, rate_per_s__gt=0), name="action_counts"
            ),
        )
        indexes = (
            models.Index(
                fields=("due_at",), condition=models.Q(finished_at__isnull=True), name="action_due"
            ),
            models.Index(fields=("tenant", "-created_at", "-id"), name="action_newest"),
        )

    def __str__(self) -> str:
        return f"{self.kind} {self.id}"


class ActionItem(models.Model):
    """One thing of an action; `outcome` is null until it was its turn."""

    pk = models.CompositePrimaryKey("action_id", "place")
    action_id = models.UUIDField()
    place = models.IntegerField()
    tenant_id = models.IntegerField()
    letter_id = models.BigIntegerField()
    """The dead letter, which is gone once its step is retried by whomever."""
    outcome = models.TextField(null=True)
    """`retried`, `gone`, or the state that did not allow it."""

    class Meta:
        db_table = "action_item"
        indexes = (
            models.Index(
                fields=("action_id", "place"),
                condition=models.Q(outcome__isnull=True),
                name="action_item_open",
            ),
        )

    def __str__(self) -> str:
        return f"{self.action_id}/{self.place}"
