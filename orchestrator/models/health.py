"""How the server was: each part's state and its changes, canary runs, the database's size."""

from __future__ import annotations

from django.db import models
from django.db.models.functions import Now


class HealthState(models.Model):
    """A part as the clock saw it last; `since` its state is what it is."""

    name = models.TextField(primary_key=True)
    deep = models.BooleanField(default=False)
    """Looked at once a minute by the deeper look, not every ten seconds."""
    state = models.TextField()
    """ok, degraded, down; unknown: nobody looked."""
    since = models.DateTimeField()
    seen_at = models.DateTimeField()
    detail = models.TextField(blank=True, db_default="")
    mend = models.TextField(blank=True, db_default="")

    class Meta:
        db_table = "health_state"

    def __str__(self) -> str:
        return f"{self.name}: {self.state}"


class HealthChange(models.Model):
    """A part's state became another one."""

    id = models.BigAutoField(primary_key=True)
    name = models.TextField()
    state = models.TextField()
    detail = models.TextField(blank=True, db_default="")
    at = models.DateTimeField()

    class Meta:
        db_table = "health_change"
        indexes = (models.Index(fields=("name", "-at"), name="health_change_name"),)

    def __str__(self) -> str:
        return f"{self.name} {self.state} at {self.at:%H:%M:%S}"


class CanaryRun(models.Model):
    """A run that the clock sent to see whether work is done; `outcome` is null while it is awaited.

    The run itself is forgotten earlier: there is no foreign key."""

    id = models.BigAutoField(primary_key=True)
    run_id = models.UUIDField()
    sent_at = models.DateTimeField(db_default=Now())
    ended_at = models.DateTimeField(null=True)
    outcome = models.TextField(null=True)
    """ok, failed, late."""
    seconds = models.FloatField(null=True)
    """From its submission to its end."""
    detail = models.TextField(blank=True, db_default="")

    class Meta:
        db_table = "canary_run"
        indexes = (models.Index(fields=("-sent_at",), name="canary_run_sent"),)
        constraints = (
            models.UniqueConstraint(
                models.Value(1), condition=models.Q(outcome__isnull=True), name="canary_run_alone"
            ),
            models.CheckConstraint(
                condition=models.Q(outcome__isnull=True, ended_at__isnull=True)
                | models.Q(outcome__isnull=False, ended_at__isnull=False),
                name="canary_run_ended",
            ),
        )

    def __str__(self) -> str:
        return f"{self.run_id}: {self.outcome or 'awaited'}"


class DatabaseSize(models.Model):
    """How large the database was, hour by hour."""

    at = models.DateTimeField(primary_key=True)
    bytes = models.BigIntegerField()

    class Meta:
        db_table = "database_size"

    def __str__(self) -> str:
        return f"{self.bytes} at {self.at:%Y-%m-%d %H:%M}"
