"""Definitions: a workflow's name, its immutable versions, and their steps as the engine reads them."""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.functions import Now

from tenants.models import Tenant


class Workflow(models.Model):
    """A named definition of a tenant; its versions are numbered from 1."""

    tenant = models.ForeignKey(Tenant, models.CASCADE, related_name="workflows")
    name = models.TextField()
    newest = models.IntegerField(default=0, db_default=0)
    created_at = models.DateTimeField(db_default=Now())
    paused_at = models.DateTimeField(null=True)
    archived_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "workflow"
        constraints = (
            models.UniqueConstraint(fields=("tenant", "name"), name="workflow_name"),
            models.UniqueConstraint(fields=("tenant", "id"), name="workflow_tenant"),
        )

    def __str__(self) -> str:
        return self.name


class WorkflowVersion(models.Model):
    """An immutable numbered graph; a run is pinned to one.

    `document` is the canonical JSON text; the other columns are what the engine's statements
    need of it, so that they never parse it."""

    tenant = models.ForeignKey(Tenant, models.CASCADE, related_name="+")
    workflow = models.ForeignKey(Workflow, models.CASCADE, related_name="versions")
    version = models.IntegerField()
    checksum = models.TextField()
    document = models.TextField()
    timeout_ms = models.BigIntegerField()
    max_parallel = models.IntegerField(null=True)
    fail_fast = models.BooleanField(default=False)
    priority = models.SmallIntegerField(default=0)
    step_count = models.IntegerField()
    leaves = ArrayField(models.IntegerField())
    output_needs = ArrayField(models.IntegerField(), null=True)
    """Steps that the workflow's `output` refers to; null where it has none (the leaves' outputs)."""
    concurrency_limit = models.IntegerField(null=True)
    """How many of its runs with one key may run at once; null where it has no `concurrency`."""
    on_conflict = models.TextField(null=True)
    """What becomes of one more: queue, cancel_oldest or reject."""
    has_undo = models.BooleanField(default=False, db_default=False)
    """Whether some step can be undone: then its runs' outputs are needed after their end."""
    created_at = models.DateTimeField(db_default=Now())
    created_by = models.TextField(blank=True, default="")

    class Meta:
        db_table = "workflow_version"
        constraints = (
            models.UniqueConstraint(fields=("workflow", "version"), name="workflow_version_number"),
            models.UniqueConstraint(fields=("tenant", "id"), name="workflow_version_tenant"),
        )
        indexes = (models.Index(fields=("tenant", "-created_at"), name="workflow_version_newest"),)

    def __str__(self) -> str:
        return f"{self.workflow_id} v{self.version}"


class VersionStep(models.Model):
    """A step of a version, in document order from 0, with its edges as arrays of ordinals."""

    pk = models.CompositePrimaryKey("version", "ordinal")
    version = models.ForeignKey(
        WorkflowVersion, models.CASCADE, related_name="steps", db_index=False
    )
    ordinal = models.IntegerField()
    tenant = models.ForeignKey(Tenant, models.CASCADE, related_name="+", db_index=False)
    name = models.TextField()
    handler_id = models.IntegerField(null=True)
    queue = models.TextField()
    pool = models.TextField(db_default="", default="")
    """The pool that it names; empty: none."""
    rule = models.TextField()
    parents = ArrayField(models.IntegerField())
    children = ArrayField(models.IntegerField())
    needs = ArrayField(models.IntegerField())
    """Steps whose outputs or states its expressions refer to."""
    needs_input = models.BooleanField()
    control = models.BooleanField()
    """Whether Python must decide (`if`) before it may run."""
    max_attempts = models.IntegerField()
    fallback = models.TextField(null=True)
    """The value of `on_error`, as JSON, where the step has one."""
    batch_needs = ArrayField(models.IntegerField(), db_default=[])
    """Of a map: the steps that `args` alone refers to, which is what each batch must be given."""
    batch_needs_input = models.BooleanField(db_default=False)

    class Meta:
        db_table = "version_step"
        constraints = (
            # An expression, so that no planner takes this index for a step's key.
            models.UniqueConstraint("name", models.F("version_id") + 0, name="version_step_name"),
        )

    def __str__(self) -> str:
        return self.name


class VersionCall(models.Model):
    """A handler that a step calls besides its own: its compensation (batch -1) or undo (batch -2)."""

    pk = models.CompositePrimaryKey("version", "ordinal", "batch")
    version = models.ForeignKey(
        WorkflowVersion, models.CASCADE, related_name="calls", db_index=False
    )
    ordinal = models.IntegerField()
    batch = models.IntegerField()
    tenant = models.ForeignKey(Tenant, models.CASCADE, related_name="+", db_index=False)
    handler_id = models.IntegerField()
    queue = models.TextField()
    needs = ArrayField(models.IntegerField())
    """Steps whose outputs its arguments refer to, and the step itself."""

    class Meta:
        db_table = "version_call"

    def __str__(self) -> str:
        return f"{self.version_id}/{self.ordinal}/{self.batch}"
