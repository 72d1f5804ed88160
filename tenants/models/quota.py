"""What a tenant may use."""

from __future__ import annotations

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models.functions import Now

from tenants.models.tenant import Tenant

LARGEST = 2**31 - 1
LARGEST_BYTES = 2**53
"""More bytes than this are no limit, and a browser would round them."""


def _most(least: int, largest: int = LARGEST) -> list[MinValueValidator | MaxValueValidator]:
    return [MinValueValidator(least), MaxValueValidator(largest)]


class Quota(models.Model):
    """A tenant's limits as they are now; they are read at every claim and submission, so that an
    edit acts at once.  Null is no limit (of `retention_days`: the server's).

    The engine joins this row in SQL: names and meanings are part of `store/sql`.  What is set for a
    time stands here too, and what comes back after it in QuotaOverride."""

    tenant = models.OneToOneField(Tenant, models.CASCADE, primary_key=True, related_name="quota")
    max_connections = models.IntegerField(
        default=10, db_default=10, validators=[MinValueValidator(0), MaxValueValidator(100_000)]
    )
    weight = models.FloatField(
        default=1.0, db_default=1.0, validators=[MinValueValidator(0.01), MaxValueValidator(1000.0)]
    )
    max_active_runs = models.IntegerField(null=True, blank=True, validators=_most(0))
    """Runs that have not ended, child runs too."""
    max_waiting_steps = models.IntegerField(null=True, blank=True, validators=_most(0))
    """Step runs that could start and have not."""
    submissions_per_minute = models.IntegerField(
        null=True, blank=True, validators=_most(1, 10_000_000)
    )
    max_steps = models.IntegerField(
        default=10_000,
        db_default=10_000,
        validators=[MinValueValidator(1), MaxValueValidator(10_000)],
    )
    max_payload_bytes = models.BigIntegerField(
        default=64 * 1024 * 1024,
        db_default=64 * 1024 * 1024,
        validators=[MinValueValidator(1024), MaxValueValidator(LARGEST_BYTES)],
    )
    max_storage_bytes = models.BigIntegerField(
        null=True, blank=True, validators=_most(0, LARGEST_BYTES)
    )
    """Of payloads that do not stay in their rows, before they are compressed."""
    retention_days = models.IntegerField(null=True, blank=True, validators=_most(1, 3650))
    """How long finished runs are kept."""
    max_schedules = models.IntegerField(null=True, blank=True, validators=_most(0))
    max_api_keys = models.IntegerField(null=True, blank=True, validators=_most(0))
    """Keys that are neither revoked nor expired."""
    keep_outputs = models.BooleanField(default=True, db_default=True)
    """Whether steps' outputs stay once their run has succeeded; the run's own always does."""
    updated_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        db_table = "quota"
        constraints = (
            models.CheckConstraint(
                condition=models.Q(max_connections__gte=0), name="quota_connections"
            ),
            models.CheckConstraint(condition=models.Q(weight__gt=0), name="quota_weight"),
            models.CheckConstraint(
                condition=models.Q(submissions_per_minute__isnull=True)
                | models.Q(submissions_per_minute__gt=0),
                name="quota_submissions",
            ),
        )

    def __str__(self) -> str:
        return f"quota of {self.tenant_id}"


class QuotaOverride(models.Model):
    """A limit that is set until a time: `base` comes back then.  Both are JSON numbers or null."""

    tenant = models.ForeignKey(
        Tenant, models.CASCADE, related_name="quota_overrides", db_index=False
    )
    name = models.TextField()
    base = models.JSONField(null=True)
    value = models.JSONField(null=True)
    expires_at = models.DateTimeField()
    reason = models.TextField(blank=True, default="")
    actor = models.TextField()
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        db_table = "quota_override"
        constraints = (
            models.UniqueConstraint(fields=("tenant", "name"), name="quota_override_one"),
        )
        indexes = (models.Index(fields=("expires_at",), name="quota_override_due"),)

    def __str__(self) -> str:
        return f"{self.name} until {self.expires_at:%Y-%m-%d %H:%M}"


class QuotaChange(models.Model):
    """What a limit was and became, and why; never changed.

    `kind`: base (for good), override (until `expires_at`), ended (an override, before its time),
    expired."""

    tenant = models.ForeignKey(Tenant, models.CASCADE, related_name="quota_changes", db_index=False)
    at = models.DateTimeField(db_default=Now(), editable=False)
    name = models.TextField()
    kind = models.TextField()
    before = models.JSONField(null=True)
    after = models.JSONField(null=True)
    expires_at = models.DateTimeField(null=True)
    reason = models.TextField(blank=True, default="")
    actor = models.TextField()

    class Meta:
        db_table = "quota_change"
        indexes = (models.Index(fields=("tenant", "-id"), name="quota_change_newest"),)

    def __str__(self) -> str:
        return f"{self.name}: {self.before} → {self.after}"
