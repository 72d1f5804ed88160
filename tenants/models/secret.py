"""What a tenant's steps need to know and nobody else may."""

from __future__ import annotations

from django.db import models
from django.db.models.functions import Now

from tenants.models.tenant import Tenant

SECRET_PATTERN = r"^[A-Za-z_][A-Za-z0-9_]{0,62}$"  # noqa: S105  (of names)


class Secret(models.Model):
    """A value that expressions name as `secrets.NAME`; kept sealed (tenants.sealing), never shown.

    Workers read it in SQL, at the last moment."""

    tenant = models.ForeignKey(Tenant, models.CASCADE, related_name="secrets")
    name = models.TextField()
    sealed = models.BinaryField()
    version = models.IntegerField(default=1)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    updated_at = models.DateTimeField(db_default=Now(), editable=False)
    updated_by = models.TextField(blank=True, default="")
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        db_table = "secret"
        constraints = (
            models.UniqueConstraint(fields=("tenant", "name"), name="secret_name"),
            models.UniqueConstraint(fields=("tenant", "id"), name="secret_tenant"),
            models.CheckConstraint(
                condition=models.Q(name__regex=SECRET_PATTERN), name="secret_name_form"
            ),
        )

    def __str__(self) -> str:
        return self.name


class SecretVersion(models.Model):
    """When a secret got a value, and from whom; the value itself is not kept."""

    tenant = models.ForeignKey(Tenant, models.CASCADE, related_name="+")
    secret = models.ForeignKey(Secret, models.CASCADE, related_name="versions")
    version = models.IntegerField()
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    created_by = models.TextField(blank=True, default="")

    class Meta:
        db_table = "secret_version"
        constraints = (
            models.UniqueConstraint(fields=("secret", "version"), name="secret_version_once"),
        )

    def __str__(self) -> str:
        return f"{self.secret} {self.version}"
