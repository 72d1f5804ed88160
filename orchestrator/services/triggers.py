"""Triggers: made, edited, given new secrets, deleted.  What they receive, `services.hooks` takes."""

from __future__ import annotations

import secrets
from datetime import timedelta

from django.db import IntegrityError, transaction

from orchestrator import store
from orchestrator.domain.definition.reader import Reader
from orchestrator.domain.errors import InvalidRequest
from orchestrator.models import Trigger
from orchestrator.selectors.triggers import access_trigger, rate
from orchestrator.services.trigger_documents import TriggerSpec, read_trigger
from orchestrator.store import schedules
from tenants.actors import Actor
from tenants.errors import AlreadyThere
from tenants.models import Tenant
from tenants.sealing import seal
from tenants.services import record

PURPOSE = "trigger secrets"
KEPT = timedelta(hours=24)
"""How long the secret before still counts after a rotation, unless it is said."""


def new_secret() -> str:
    """A secret of 32 random bytes."""
    return f"mrwh_{secrets.token_urlsafe(32)}"


def create_trigger(*, tenant: Tenant, body: object, actor: Actor) -> tuple[Trigger, str]:
    """A new trigger, named by its body, and its secret, which is shown this once.

    Raises InvalidRequest, AlreadyThere."""
    spec = read_trigger(tenant=tenant, body=body, name=None)
    made, secret = _write(tenant, spec, actor, replace=False)
    assert secret is not None
    return made, secret


def replace_trigger(
    *, tenant: Tenant, name: str, body: object, actor: Actor
) -> tuple[Trigger, str | None]:
    """The trigger `name` as `body` says; its secret where it is new, an old one keeps its own.

    Raises InvalidRequest."""
    spec = read_trigger(tenant=tenant, body=body, name=name)
    return _write(tenant, spec, actor, replace=True)


@transaction.atomic
def _write(
    tenant: Tenant, spec: TriggerSpec, actor: Actor, *, replace: bool
) -> tuple[Trigger, str | None]:
    row = Trigger.objects.select_for_update().filter(tenant=tenant, name=spec.name).first()
    taken = AlreadyThere(f"The trigger {spec.name} is there already.", trigger=spec.name)
    if row is not None and not replace:
        raise taken
    before = None if row is None else _shape(row)
    secret = None
    if row is None:
        secret = new_secret()
        row = Trigger(tenant=tenant, secret=seal(secret, purpose=PURPOSE))
    for key in TriggerSpec.__slots__:
        setattr(row, key, getattr(spec, key))
    row.updated_at, row.updated_by = schedules.now(store.connection()), str(actor)
    try:
        with transaction.atomic():
            row.save()
    except IntegrityError:
        if secret is None:
            raise
        raise taken from None
    row.refresh_from_db()
    record(
        tenant=tenant,
        actor=actor,
        action="trigger.changed" if before else "trigger.created",
        target=spec.name,
        before=before,
        after=_shape(row),
    )
    return row, secret


def _shape(row: Trigger) -> dict[str, object]:
    """What the audit log keeps: everything but the secrets."""
    return {
        "workflow": row.workflow.name,
        "scheme": row.scheme,
        "input": row.input,
        "labels": row.labels,
        "priority": row.priority,
        "dedup_key": row.dedup_key,
        "rate": rate(row),
        "enabled": row.enabled,
    }


@transaction.atomic
def rotate_trigger(*, tenant: Tenant, name: str, body: object, actor: Actor) -> tuple[Trigger, str]:
    """A new secret, shown this once; the one before still counts for `keep`, 24 h unless `body` says
    another.  Raises TriggerNotFound, InvalidRequest."""
    row = access_trigger(tenant=tenant, name=name, lock=True)
    reader = Reader()
    raw = reader.mapping(body, "", ("keep",))
    keep = KEPT if raw is None else reader.duration(raw, "", "keep", KEPT, zero=True)
    if reader.problems:
        raise InvalidRequest(problems=reader.problems)
    secret = new_secret()
    now = schedules.now(store.connection())
    row.previous, row.previous_until = (row.secret, now + keep) if keep else (None, None)
    row.secret = seal(secret, purpose=PURPOSE)
    row.updated_at, row.updated_by = now, str(actor)
    row.save()
    record(
        tenant=tenant,
        actor=actor,
        action="trigger.rotated",
        target=name,
        after={"keep_s": keep.total_seconds()},
    )
    return row, secret


@transaction.atomic
def delete_trigger(*, tenant: Tenant, name: str, actor: Actor) -> None:
    """Delete a trigger; its runs stay.  Raises TriggerNotFound."""
    row = access_trigger(tenant=tenant, name=name, lock=True)
    record(tenant=tenant, actor=actor, action="trigger.deleted", target=name, before=_shape(row))
    row.delete()
