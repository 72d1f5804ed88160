"""Where a tenant's own data are."""

from __future__ import annotations

from django.db import models
from django.db.models.functions import Now

from tenants.models.tenant import Tenant


class TenantDatabase(models.Model):
    """Where `ctx.connection()` and `core.sql` lead: the tenant's role and schema in the server's
    database, or a database elsewhere.

    `password` (of the role) and `external` (an address with its password) are sealed; `external_name`
    is what may be shown of the address.  Workers read the row in SQL: tenants.connections."""

    tenant = models.OneToOneField(Tenant, models.CASCADE, primary_key=True, related_name="database")
    password = models.BinaryField()
    external = models.BinaryField(null=True)
    external_name = models.TextField(blank=True, default="", db_default="")
    updated_at = models.DateTimeField(db_default=Now(), editable=False)
    wait_count = models.BigIntegerField(default=0, db_default=0)
    """How often a step had to wait because PostgreSQL gave it no connection at once."""
    waited_s = models.FloatField(default=0.0, db_default=0.0)
    waited_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "tenant_database"
        constraints = (
            models.CheckConstraint(
                condition=models.Q(external__isnull=True, external_name="")
                | (models.Q(external__isnull=False) & ~models.Q(external_name="")),
                name="tenant_database_external",
            ),
        )

    def __str__(self) -> str:
        return f"database of {self.tenant_id}"
