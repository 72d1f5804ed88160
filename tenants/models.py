"""Who owns what: tenants, their limits, people, keys, and the audit log."""

from __future__ import annotations

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models
from django.db.models.functions import Now

SLUG_PATTERN = r"^[a-z][a-z0-9-]{0,62}$"


class Tenant(models.Model):
    """A customer of the server: owns everything below; never sees another tenant's rows."""

    slug = models.TextField(unique=True, validators=[RegexValidator(SLUG_PATTERN)])
    name = models.TextField(blank=True, default="")
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    suspended_at = models.DateTimeField(null=True, blank=True, editable=False)
    suspended_reason = models.TextField(blank=True, default="")

    class Meta:
        db_table = "tenant"
        ordering = ("slug",)
        constraints = (
            models.CheckConstraint(
                condition=models.Q(slug__regex=SLUG_PATTERN), name="tenant_slug_form"
            ),
        )

    def __str__(self) -> str:
        return self.slug


class Quota(models.Model):
    """A tenant's limits; workers read them at every claim, so an edit acts at once.

    The engine joins this row in SQL: names and meanings are part of `store/sql`."""

    tenant = models.OneToOneField(Tenant, models.CASCADE, primary_key=True, related_name="quota")
    max_connections = models.IntegerField(
        default=10, db_default=10, validators=[MinValueValidator(0), MaxValueValidator(100_000)]
    )
    weight = models.FloatField(
        default=1.0, db_default=1.0, validators=[MinValueValidator(0.01), MaxValueValidator(1000.0)]
    )
    max_steps = models.IntegerField(
        default=10_000,
        db_default=10_000,
        validators=[MinValueValidator(1), MaxValueValidator(10_000)],
    )
    max_payload_bytes = models.BigIntegerField(
        default=64 * 1024 * 1024, db_default=64 * 1024 * 1024, validators=[MinValueValidator(1024)]
    )
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
        )

    def __str__(self) -> str:
        return f"quota of {self.tenant_id}"


class Role(models.TextChoices):
    """What a member may do; each role may do what those before it may."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"


class Membership(models.Model):
    """A person's role in a tenant."""

    tenant = models.ForeignKey(Tenant, models.CASCADE, related_name="memberships")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="memberships")
    role = models.TextField(choices=Role.choices, default=Role.VIEWER)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        db_table = "membership"
        constraints = (
            models.UniqueConstraint(fields=("tenant", "user"), name="membership_once"),
            models.CheckConstraint(
                condition=models.Q(role__in=Role.values), name="membership_role"
            ),
        )

    def __str__(self) -> str:
        return f"{self.user} in {self.tenant}"


class ApiKey(models.Model):
    """A program's key.  Only its prefix and SHA-256 are kept; the key itself is shown once."""

    tenant = models.ForeignKey(Tenant, models.CASCADE, related_name="api_keys")
    name = models.TextField(blank=True, default="")
    prefix = models.TextField(unique=True)
    digest = models.BinaryField()
    scopes = models.JSONField(default=list)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    expires_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)
    revoked_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        db_table = "api_key"
        verbose_name = "API key"

    def __str__(self) -> str:
        return self.prefix


class AuditEntry(models.Model):
    """Who did what, in which tenant (none: the server itself), from where; never changed."""

    tenant = models.ForeignKey(Tenant, models.CASCADE, null=True, related_name="audit_entries")
    at = models.DateTimeField(db_default=Now(), editable=False)
    actor = models.TextField()
    action = models.TextField()
    target = models.TextField(blank=True, default="")
    before = models.JSONField(null=True)
    after = models.JSONField(null=True)
    origin = models.TextField(blank=True, default="")

    class Meta:
        db_table = "audit_entry"
        verbose_name_plural = "audit entries"
        indexes = (models.Index(fields=("tenant", "-at", "-id"), name="audit_entry_newest"),)

    def __str__(self) -> str:
        return f"{self.actor} {self.action} {self.target}"
