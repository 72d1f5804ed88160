"""Links that make members."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models.functions import Now

from tenants.models.people import Role
from tenants.models.tenant import Tenant


class Invitation(models.Model):
    """A link that makes one person a member of a tenant, once.  Only the SHA-256 of its token is
    kept; the link is shown once to whoever made it, and sent where an e-mail address was given."""

    tenant = models.ForeignKey(Tenant, models.CASCADE, related_name="invitations")
    digest = models.BinaryField(unique=True)
    role = models.TextField(choices=Role.choices)
    email = models.TextField(blank=True, default="")
    created_by = models.TextField()
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    expires_at = models.DateTimeField()
    attempt_count = models.IntegerField(default=0, db_default=0)
    """Names that were refused: an invitation is no way to try who is there."""
    accepted_at = models.DateTimeField(null=True, editable=False)
    accepted_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, editable=False, related_name="+"
    )
    revoked_at = models.DateTimeField(null=True, editable=False)

    class Meta:
        db_table = "invitation"
        constraints = (
            models.CheckConstraint(
                condition=models.Q(role__in=Role.values), name="invitation_role"
            ),
        )
        indexes = (
            models.Index(
                fields=("tenant", "-id"),
                name="invitation_open",
                condition=models.Q(accepted_at=None, revoked_at=None),
            ),
        )

    def __str__(self) -> str:
        return f"{self.role} in {self.tenant}"
