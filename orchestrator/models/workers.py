"""Worker processes and the handlers that they have."""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.functions import Now


class Handler(models.Model):
    """A handler that some worker registered; known while seen in the last 7 days."""

    id = models.AutoField(primary_key=True)
    name = models.TextField(unique=True)
    queue = models.TextField(null=True)
    timeout_ms = models.BigIntegerField(null=True)
    kind = models.TextField(default="async")
    """async, blocking or cpu."""
    batch = models.BooleanField(default=False)
    signature = models.JSONField(default=dict)
    seen_at = models.DateTimeField(null=True)
    """When a live worker last had it; null: known only from a publication."""

    class Meta:
        db_table = "handler"

    def __str__(self) -> str:
        return self.name


class Worker(models.Model):
    """A process that runs steps (a worker's prefork child); it holds an advisory lock while it lives."""

    id = models.AutoField(primary_key=True)
    name = models.TextField()
    host = models.TextField()
    pid = models.IntegerField()
    queues = ArrayField(models.TextField())
    handler_ids = ArrayField(models.IntegerField(), default=list)
    state = models.TextField(default="active")
    """active, draining, gone."""
    locked = models.BooleanField(default=False)
    """Whether its session held the advisory lock when the row was written."""
    missing_at = models.DateTimeField(null=True)
    """When the reaper first saw its lock free."""
    in_flight = models.IntegerField(default=0)
    drain_at = models.DateTimeField(null=True)
    """When staff told it to take nothing more; null: it takes work."""
    refused_count = models.BigIntegerField(db_default=0)
    """Late results of earlier claims that were refused."""
    started_at = models.DateTimeField(db_default=Now())
    seen_at = models.DateTimeField(db_default=Now())
    gone_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "worker"
        indexes = (
            models.Index(fields=("state",), condition=~models.Q(state="gone"), name="worker_alive"),
        )

    def __str__(self) -> str:
        return self.name


class Duty(models.Model):
    """What the clock does again and again: when it last did, and how it went."""

    name = models.TextField(primary_key=True)
    interval_ms = models.IntegerField()
    ticked_at = models.DateTimeField(null=True)
    tick_count = models.BigIntegerField(db_default=0)
    changed_count = models.BigIntegerField(db_default=0)
    """What its ticks changed, in all (of `reconcile`: counts that were wrong)."""
    error = models.TextField(blank=True, db_default="")

    class Meta:
        db_table = "duty"

    def __str__(self) -> str:
        return self.name
