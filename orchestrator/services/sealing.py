"""What is kept sealed, sealed anew under the present SECRET_KEY."""

from __future__ import annotations

from django.db import models, transaction

from orchestrator.models import Channel, Trigger
from orchestrator.services.channel_secrets import PURPOSE as CHANNELS
from orchestrator.services.triggers import PURPOSE as TRIGGERS
from tenants.actors import Actor
from tenants.connections.external import PURPOSE as EXTERNAL
from tenants.connections.roles import PURPOSE as ROLES
from tenants.models import Secret, TenantDatabase, Totp
from tenants.sealing import reseal
from tenants.services import record
from tenants.services.factors import PURPOSE as TOTP
from tenants.services.secrets import PURPOSE as SECRETS

SEALED: tuple[tuple[type[models.Model], str, str], ...] = (
    (Secret, "sealed", SECRETS),
    (Trigger, "secret", TRIGGERS),
    (Trigger, "previous", TRIGGERS),
    (Channel, "sealed", CHANNELS),
    (TenantDatabase, "password", ROLES),
    (TenantDatabase, "external", EXTERNAL),
    (Totp, "secret", TOTP),
)
"""Every column with something sealed in it, and its purpose."""


def reseal_all(*, actor: Actor) -> int:
    """Seal whatever an older key opens under the present one; answers how many.

    Afterwards SECRET_KEY_FALLBACKS may go.  Raises Unreadable, having changed nothing, where no key
    opens something."""
    with transaction.atomic():
        count = sum(_column(model, field, purpose) for model, field, purpose in SEALED)
        if count:
            record(tenant=None, actor=actor, action="sealed.resealed", after={"count": count})
    return count


def _column(model: type[models.Model], field: str, purpose: str) -> int:
    rows = model._default_manager.select_for_update().filter(**{f"{field}__isnull": False})
    count = 0
    for pk, token in rows.order_by("pk").values_list("pk", field).iterator():
        fresh = reseal(bytes(token), purpose=purpose)
        if fresh is not None:
            model._default_manager.filter(pk=pk).update(**{field: fresh})
            count += 1
    return count
