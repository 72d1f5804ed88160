"""A customer of the server."""

from __future__ import annotations

from django.core.validators import RegexValidator
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
    is_system = models.BooleanField(default=False, db_default=False, editable=False)
    """The server's own, of which there is one: canary runs are its.  Lists of tenants, metrics and
    shares leave it out."""

    class Meta:
        db_table = "tenant"
        ordering = ("slug",)
        constraints = (
            models.CheckConstraint(
                condition=models.Q(slug__regex=SLUG_PATTERN), name="tenant_slug_form"
            ),
            models.UniqueConstraint(
                fields=("is_system",),
                condition=models.Q(is_system=True),
                name="tenant_system_alone",
            ),
        )

    def __str__(self) -> str:
        return self.slug
