"""The audit log."""

from __future__ import annotations

from django.db import models
from django.db.models.functions import Now

from tenants.models.tenant import Tenant


class AuditEntry(models.Model):
    """Who did what, in which tenant (none: the server itself), from where.

    Rows are added and nothing else: the database refuses every other change, save that
    `audit_forget` takes away what is older than the log is kept.  They outlive their tenant."""

    tenant = models.ForeignKey(
        Tenant, models.DO_NOTHING, null=True, related_name="audit_entries", db_constraint=False
    )
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
        indexes = (
            models.Index(fields=("tenant", "-id"), name="audit_entry_newest"),
            models.Index(fields=("tenant", "action", "-id"), name="audit_entry_action"),
            models.Index(fields=("at",), name="audit_entry_age"),
        )

    def __str__(self) -> str:
        return f"{self.actor} {self.action} {self.target}"
