"""Programs' keys."""

from __future__ import annotations

from django.db import models
from django.db.models.functions import Now

from tenants.models.tenant import Tenant


class ApiKey(models.Model):
    """A program's key.  Only its prefix and SHA-256 are kept; the key itself is shown once.

    A rotated key and the one that takes its place are two rows, so that each has its own use, end
    and trace in the audit log."""

    tenant = models.ForeignKey(Tenant, models.CASCADE, related_name="api_keys")
    name = models.TextField(blank=True, default="")
    prefix = models.TextField(unique=True)
    digest = models.BinaryField()
    scopes = models.JSONField(default=list)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    expires_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)
    revoked_at = models.DateTimeField(null=True, blank=True)
    rotated_from = models.OneToOneField(
        "self", models.SET_NULL, null=True, editable=False, related_name="rotated_to"
    )

    class Meta:
        db_table = "api_key"
        verbose_name = "API key"
        constraints = (models.UniqueConstraint(fields=("tenant", "id"), name="api_key_tenant"),)

    def __str__(self) -> str:
        return self.prefix
