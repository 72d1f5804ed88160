"""Executions: runs, their step runs, and the idempotency keys of submissions.

Written by the statements in `store/sql` alone.  Payloads (`input`, `output`, `error`, `args`) are
JSON as text: encoded and checked once in Python, so that every digit survives (jsonb would turn
1e22 into an integer) and nothing is parsed twice."""

from __future__ import annotations

from django.contrib.postgres.indexes import GinIndex
from django.db import models
from django.db.models.functions import Now

from orchestrator.domain.statuses import RunState, StepState
from orchestrator.models.workflows import Workflow, WorkflowVersion
from tenants.models import Tenant

RUN_TERMINAL = models.Q(state__in=("succeeded", "failed", "cancelled"))
STEP_TERMINAL = models.Q(state__in=("succeeded", "failed", "skipped", "cancelled"))


class Run(models.Model):
    """One execution of a version.  `open_count` counts the steps that are not terminal."""

    id = models.UUIDField(primary_key=True)
    # (tenant, workflow) and (tenant, version) are foreign keys; single ones would be checked besides
    tenant = models.ForeignKey(
        Tenant, models.CASCADE, related_name="+", db_index=False, db_constraint=False
    )
    workflow = models.ForeignKey(
        Workflow, models.CASCADE, related_name="runs", db_index=False, db_constraint=False
    )
    version = models.ForeignKey(
        WorkflowVersion, models.CASCADE, related_name="runs", db_index=False, db_constraint=False
    )
    state = models.TextField(db_default=RunState.QUEUED)
    priority = models.SmallIntegerField()
    labels = models.JSONField(db_default=models.Value({}, output_field=models.JSONField()))
    input = models.TextField()
    output = models.TextField(null=True)
    error = models.TextField(null=True)
    closing = models.TextField(null=True)
    """Why nothing new may start: cancel, fail_fast, timeout, deadline, or upstream (its parent's)."""
    closing_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(db_default=Now())
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    paused_at = models.DateTimeField(null=True)
    resume_ms = models.BigIntegerField(null=True)
    """What was left until `expires_at` when the run, or its workflow, was paused."""
    deadline_at = models.DateTimeField(null=True)
    expires_at = models.DateTimeField(null=True)
    """The earlier of the deadline and, once started, the run timeout's end."""
    timeout_ms = models.BigIntegerField()
    start_at = models.DateTimeField(null=True)
    """Nothing of it starts before this moment."""
    held = models.TextField(null=True)
    """Why its first steps are not ready yet: start_at, or concurrency; null once they are."""
    concurrency_key = models.TextField(null=True)
    """What its workflow's `concurrency.key` came to: runs with the same one share its `limit`."""
    parent_id = models.UUIDField(null=True)
    parent_ordinal = models.IntegerField(null=True)
    """The step of the run `parent_id` that waits for this one."""
    depth = models.SmallIntegerField(db_default=0)
    """How many runs are above it."""
    fail_fast = models.BooleanField()
    max_parallel = models.IntegerField(null=True)
    active_count = models.IntegerField(db_default=0)
    """Connections held; kept only where `max_parallel` is set."""
    trace = models.TextField(null=True)
    """Whose trace it belongs to (W3C's traceparent); null: it is not traced."""
    outputs_dropped_at = models.DateTimeField(null=True)
    """When its steps' outputs were dropped, since nobody needed them any more."""
    step_count = models.IntegerField()
    open_count = models.IntegerField()
    succeeded_count = models.IntegerField(db_default=0)
    failed_count = models.IntegerField(db_default=0)
    skipped_count = models.IntegerField(db_default=0)
    cancelled_count = models.IntegerField(db_default=0)
    undo_state = models.TextField(null=True)
    """Of undoing its steps, once that has begun: running, succeeded or failed."""
    undo_error = models.TextField(null=True)
    undo_finished_at = models.DateTimeField(null=True)
    undo_open = models.IntegerField(db_default=0)
    """Its rows of batch -2 (undos, and what only passes their order on) that have not ended."""

    class Meta:
        db_table = "run"
        constraints = (
            models.UniqueConstraint(fields=("tenant", "id"), name="run_tenant"),
            models.CheckConstraint(condition=models.Q(state__in=list(RunState)), name="run_state"),
            models.CheckConstraint(
                condition=models.Q(RUN_TERMINAL, finished_at__isnull=False)
                | models.Q(~RUN_TERMINAL, finished_at__isnull=True),
                name="run_finished_iff_terminal",
            ),
            models.CheckConstraint(
                condition=models.Q(open_count__gte=0, active_count__gte=0), name="run_counts"
            ),
            models.CheckConstraint(
                condition=models.Q(state="paused", paused_at__isnull=False)
                | models.Q(~models.Q(state="paused"), paused_at__isnull=True),
                name="run_paused_iff_at",
            ),
            models.CheckConstraint(
                condition=models.Q(undo_state__isnull=True, undo_open=0)
                | models.Q(undo_state="running", undo_open__gte=0, undo_finished_at__isnull=True)
                | models.Q(
                    undo_state__in=("succeeded", "failed"),
                    undo_open=0,
                    undo_finished_at__isnull=False,
                ),
                name="run_undo",
            ),
        )
        indexes = (
            models.Index(fields=("tenant", "-created_at", "-id"), name="run_newest"),
            models.Index(
                fields=("tenant", "workflow", "-created_at", "-id"), name="run_workflow_newest"
            ),
            models.Index(
                fields=("tenant", "state", "-created_at", "-id"),
                condition=~models.Q(state="succeeded"),
                name="run_state_newest",
            ),
            models.Index(
                fields=("expires_at",),
                condition=models.Q(
                    finished_at__isnull=True, expires_at__isnull=False, closing__isnull=True
                ),
                name="run_expiring",
            ),
            models.Index(
                fields=("closing_at",),
                condition=models.Q(finished_at__isnull=True, closing__isnull=False),
                name="run_closing",
            ),
            models.Index(
                fields=("start_at",),
                condition=models.Q(held="start_at", finished_at__isnull=True),
                name="run_starting",
            ),
            models.Index(
                fields=(
                    "tenant",
                    "workflow",
                    "concurrency_key",
                    "held",
                    "-priority",
                    "created_at",
                    "id",
                ),
                condition=models.Q(concurrency_key__isnull=False, finished_at__isnull=True),
                name="run_concurrency",
            ),
            models.Index(
                fields=("tenant", "parent_id"),
                condition=models.Q(parent_id__isnull=False),
                name="run_parent",
            ),
            GinIndex(
                fields=("labels",),
                opclasses=("jsonb_path_ops",),
                condition=~models.Q(labels={}),
                name="run_labels",
            ),
        )

    def __str__(self) -> str:
        return str(self.id)


class StepRun(models.Model):
    """A step in a run (a map step has one per batch).  Narrow, and short-lived in the indexes.

    The run leads the key: with the tenant first, a planner without fresh statistics takes the
    tenant's whole range for one row, and reads it for every step."""

    pk = models.CompositePrimaryKey("run", "ordinal", "batch")
    tenant = models.ForeignKey(
        Tenant, models.CASCADE, related_name="+", db_constraint=False, db_index=False
    )
    run = models.ForeignKey(
        Run, models.CASCADE, related_name="step_runs", db_constraint=False, db_index=False
    )
    ordinal = models.IntegerField()
    batch = models.IntegerField(db_default=0)
    version = models.ForeignKey(
        WorkflowVersion, models.CASCADE, related_name="+", db_constraint=False, db_index=False
    )
    handler_id = models.IntegerField(null=True)
    queue = models.TextField()
    pool = models.TextField(db_default="", default="", db_collation="C")
    """The pool that it names, empty: none.  With the tenant and the queue it makes its lane."""
    pool_id = models.IntegerField(null=True)
    """The pool of which it holds a place while it runs (its row's id, as it was at the claim)."""
    rule = models.TextField()
    state = models.TextField()
    parked = models.TextField(null=True)
    """Why a ready step may not be claimed: control, max_parallel, no_worker, paused."""
    control = models.BooleanField(db_default=False)
    limited = models.BooleanField(db_default=False)
    """Whether its run has `max_parallel`."""
    suspect = models.BooleanField(db_default=False)
    """Lost once: claimed alone into a process with nothing else in flight."""
    rank = models.BigIntegerField(db_default=0)
    """Microseconds of `ready_at` less 60 s for each point of priority: lowest goes first."""
    priority = models.SmallIntegerField(db_default=0)
    parents_total = models.IntegerField(db_default=0)
    parents_left = models.IntegerField(db_default=0)
    parents_ok = models.IntegerField(db_default=0)
    parents_failed = models.IntegerField(db_default=0)
    parents_skipped = models.IntegerField(db_default=0)
    epoch = models.IntegerField(db_default=0)
    """The fence: grows at every claim, never lowered or reset."""
    attempts = models.IntegerField(db_default=0)
    """Attempts counted so far (losses and give-backs are not)."""
    losses = models.SmallIntegerField(db_default=0)
    extra_attempts = models.SmallIntegerField(db_default=0)
    """Attempts that its compensation granted beyond the policy's."""
    worker_id = models.IntegerField(null=True)
    charged_s = models.FloatField(db_default=0.0)
    """Worker-seconds charged to the tenant's virtual time for the present attempt."""
    ready_at = models.DateTimeField(null=True)
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    due_at = models.DateTimeField(null=True)
    wait_reason = models.TextField(null=True)
    """While it waits: retry, snooze, sleep, signal, child, repeat; ended: what it waited for has come,
    and Python has yet to say what that means."""
    wait_key = models.TextField(null=True)
    """The signal's name, or the child run's id (kept when the step has ended)."""
    repeats = models.IntegerField(db_default=0)
    """How often it succeeded and was run again, since `repeat.until` did not hold."""
    reason = models.TextField(null=True)
    """Why it was skipped: upstream_failed, upstream_skipped, trigger_rule, condition, or its own words."""
    handled = models.BooleanField(db_default=False)
    args = models.TextField(null=True)
    """The evaluated arguments, kept when an attempt is to be repeated: evaluated once per step run."""
    output = models.TextField(null=True)
    error = models.TextField(null=True)

    class Meta:
        db_table = "step_run"
        constraints = (
            models.CheckConstraint(
                condition=models.Q(state__in=list(StepState)), name="step_run_state"
            ),
            models.CheckConstraint(
                condition=models.Q(STEP_TERMINAL, finished_at__isnull=False)
                | models.Q(~STEP_TERMINAL, finished_at__isnull=True),
                name="step_run_finished_iff_terminal",
            ),
            models.CheckConstraint(
                condition=models.Q(parents_left__gte=0, attempts__gte=0, losses__gte=0),
                name="step_run_counts",
            ),
            models.CheckConstraint(
                condition=~models.Q(state="running") | models.Q(worker_id__isnull=False),
                name="step_run_running_has_worker",
            ),
        )
        indexes = (
            models.Index(
                fields=("tenant", "queue", "suspect", "pool", "rank"),
                include=("handler_id",),
                condition=models.Q(state="ready", parked__isnull=True),
                name="step_run_ready",
            ),
            models.Index(
                fields=("tenant",),
                condition=models.Q(state="ready", suspect=True),
                name="step_run_lost",
            ),
            models.Index(
                fields=("tenant", "run", "rank"),
                condition=models.Q(state="ready", parked__isnull=False),
                name="step_run_parked",
            ),
            models.Index(
                fields=("worker_id",), condition=models.Q(state="running"), name="step_run_running"
            ),
            models.Index(
                fields=("due_at",), condition=models.Q(state="waiting"), name="step_run_due"
            ),
            models.Index(
                fields=("tenant",),
                condition=models.Q(state="waiting", wait_reason="breaker"),
                name="step_run_breaker",
            ),
        )

    def __str__(self) -> str:
        return f"{self.run_id}/{self.ordinal}"


class IdempotencyKey(models.Model):
    """A submission's key, per tenant and workflow: the first run that it made."""

    pk = models.CompositePrimaryKey("tenant", "workflow", "key")
    tenant = models.ForeignKey(Tenant, models.CASCADE, related_name="+", db_index=False)
    workflow = models.ForeignKey(Workflow, models.CASCADE, related_name="+", db_index=False)
    key = models.TextField()
    fingerprint = models.TextField()
    run_id = models.UUIDField()
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "idempotency_key"
        indexes = (models.Index(fields=("created_at",), name="idempotency_key_age"),)

    def __str__(self) -> str:
        return self.key
