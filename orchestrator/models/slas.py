"""Service levels: the rules, what was counted for them, what they came to, and runs that are awaited."""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.functions import Now

from orchestrator.domain.observations import Severity, Sight
from orchestrator.domain.slo import Kind, NoData
from orchestrator.models.workflows import Workflow
from tenants.models import Tenant


class Sla(models.Model):
    """A rule.  `workflow_ids` empty: all workflows; `labels`: runs that carry all of them."""

    tenant = models.ForeignKey(Tenant, models.CASCADE, related_name="+", db_index=False)
    name = models.TextField()
    description = models.TextField(blank=True, db_default="")
    kind = models.TextField()
    workflow_ids = ArrayField(models.BigIntegerField(), db_default=[])
    labels = models.JSONField(db_default=models.Value({}, output_field=models.JSONField()))
    threshold = models.FloatField(null=True)
    target = models.FloatField(null=True)
    window_s = models.FloatField()
    min_samples = models.IntegerField(db_default=1)
    no_data = models.TextField(db_default=NoData.OK)
    for_s = models.FloatField(db_default=0.0)
    clear_for_s = models.FloatField(db_default=0.0)
    clear_threshold = models.FloatField(null=True)
    burn = models.JSONField(db_default=models.Value([], output_field=models.JSONField()))
    """Pairs of windows as `[long, short, factor]`."""
    severity = models.TextField(db_default=Severity.WARNING)
    enabled = models.BooleanField(db_default=True)
    counted_since = models.DateTimeField(null=True)
    """How far back its samples go."""
    created_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(db_default=Now())
    updated_by = models.TextField(blank=True, db_default="")

    class Meta:
        db_table = "sla"
        constraints = (
            models.UniqueConstraint(fields=("tenant", "name"), name="sla_name"),
            models.UniqueConstraint(fields=("tenant", "id"), name="sla_tenant"),
            models.CheckConstraint(
                condition=models.Q(
                    kind__in=list(Kind), no_data__in=list(NoData), severity__in=list(Severity)
                ),
                name="sla_words",
            ),
            models.CheckConstraint(
                condition=models.Q(window_s__gte=60, min_samples__gte=1, for_s__gte=0),
                name="sla_numbers",
            ),
        )

    def __str__(self) -> str:
        return self.name


class SlaState(models.Model):
    """What a rule came to when it was last looked at; rows are replaced by the clock alone."""

    sla = models.OneToOneField(
        Sla, models.CASCADE, primary_key=True, related_name="state", db_constraint=False
    )
    tenant_id = models.IntegerField()
    at = models.DateTimeField()
    changed_at = models.DateTimeField()
    """Since when it says so."""
    sight = models.TextField()
    was_bad = models.BooleanField(db_default=False)
    """What it said when it last said anything."""
    value = models.FloatField(null=True)
    total = models.BigIntegerField(db_default=0)
    good = models.BigIntegerField(db_default=0)
    late = models.IntegerField(db_default=0)
    budget = models.FloatField(null=True)
    burns = models.JSONField(db_default=models.Value([], output_field=models.JSONField()))
    no_data = models.BooleanField(db_default=False)
    error = models.TextField(null=True)
    """Why it could not be looked at."""

    class Meta:
        db_table = "sla_state"
        constraints = (
            models.CheckConstraint(
                condition=models.Q(sight__in=list(Sight)), name="sla_state_sight"
            ),
        )

    def __str__(self) -> str:
        return f"{self.sla_id} {self.sight}"


class SlaSample(models.Model):
    """What was counted for a rule in `width_s` seconds (a minute, an hour) from `at` on."""

    pk = models.CompositePrimaryKey("sla", "width_s", "at")
    sla = models.ForeignKey(
        Sla, models.CASCADE, related_name="samples", db_constraint=False, db_index=False
    )
    tenant_id = models.IntegerField()
    width_s = models.IntegerField()
    at = models.DateTimeField()
    total = models.BigIntegerField()
    good = models.BigIntegerField()
    clear = models.BigIntegerField()

    class Meta:
        db_table = "sla_sample"
        indexes = (models.Index(fields=("width_s", "at"), name="sla_sample_age"),)

    def __str__(self) -> str:
        return f"{self.sla_id} {self.at:%H:%M}"


class SlaDeadline(models.Model):
    """A run that goes on, and when it will be late for a rule: a row, so that one that hangs is seen.

    `expected_at`: its predicted end; `path`: the steps on its critical path, first few."""

    pk = models.CompositePrimaryKey("sla", "run_id")
    sla = models.ForeignKey(
        Sla, models.CASCADE, related_name="deadlines", db_constraint=False, db_index=False
    )
    tenant_id = models.IntegerField()
    run_id = models.UUIDField()
    due_at = models.DateTimeField()
    expected_at = models.DateTimeField(null=True)
    predicted_at = models.DateTimeField(null=True)
    path = ArrayField(models.TextField(), db_default=[])

    class Meta:
        db_table = "sla_deadline"
        indexes = (
            models.Index(fields=("tenant_id", "run_id"), name="sla_deadline_run"),
            models.Index(fields=("sla", "due_at"), name="sla_deadline_due"),
            models.Index(
                models.F("predicted_at").asc(nulls_first=True), name="sla_deadline_predicted"
            ),
        )

    def __str__(self) -> str:
        return f"{self.run_id} by {self.due_at:%H:%M:%S}"


class SlaCursor(models.Model):
    """How far a tenant's events have been counted for its rules; locked by who counts or edits them."""

    tenant_id = models.IntegerField(primary_key=True)
    seq = models.BigIntegerField(db_default=0)
    defaults_at = models.DateTimeField(null=True)
    """When the tenant got the rules that every tenant begins with."""

    class Meta:
        db_table = "sla_cursor"

    def __str__(self) -> str:
        return f"{self.tenant_id} at {self.seq}"


class StepNorm(models.Model):
    """How long a step of a workflow usually takes, from ready to its end; step '' says when it was
    measured, whatever came of it."""

    pk = models.CompositePrimaryKey("workflow", "step")
    workflow = models.ForeignKey(
        Workflow, models.CASCADE, related_name="+", db_constraint=False, db_index=False
    )
    tenant_id = models.IntegerField()
    step = models.TextField()
    p50_s = models.FloatField(null=True)
    sample_count = models.IntegerField(db_default=0)
    measured_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "step_norm"

    def __str__(self) -> str:
        return f"{self.workflow_id}/{self.step}"


class SlaProposal(models.Model):
    """A rule that fits what a workflow did in its first week: proposed, not set."""

    pk = models.CompositePrimaryKey("tenant_id", "workflow")
    tenant_id = models.IntegerField()
    workflow = models.ForeignKey(
        Workflow, models.CASCADE, related_name="+", db_constraint=False, db_index=False
    )
    p95_s = models.FloatField()
    threshold_s = models.FloatField()
    run_count = models.BigIntegerField()
    made_at = models.DateTimeField(db_default=Now())
    decision = models.TextField(null=True)
    decided_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "sla_proposal"
        constraints = (
            models.CheckConstraint(
                condition=models.Q(decision__isnull=True, decided_at__isnull=True)
                | models.Q(decision__in=("accepted", "dismissed"), decided_at__isnull=False),
                name="sla_proposal_decision",
            ),
        )

    def __str__(self) -> str:
        return f"{self.workflow_id}: {self.threshold_s:g} s"
