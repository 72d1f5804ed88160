"""Silences and maintenance windows: made, edited, ended.  `tenant` None: the server's."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from django.db import IntegrityError, transaction
from psycopg.errors import UniqueViolation

from orchestrator import store
from orchestrator.domain.errors import StateConflict
from orchestrator.models import MaintenanceWindow, Silence
from orchestrator.selectors.channels import (
    access_silence,
    access_window,
    silence_view,
    window_view,
)
from orchestrator.services.bounds import check_room
from orchestrator.services.channel_documents import WindowSpec, read_silence, read_window
from orchestrator.store import alerts
from tenants.actors import Actor
from tenants.errors import AlreadyThere
from tenants.models import Tenant
from tenants.services import record

MOST_ACTIVE = 500
MOST_WINDOWS = 100


def now() -> datetime:
    """The database's time."""
    return alerts.now(store.connection())


@transaction.atomic
def create_silence(*, tenant: Tenant | None, body: object, actor: Actor) -> Silence:
    """A new silence; its author is whoever makes it.  Raises InvalidRequest, OverQuota."""
    moment = now()
    spec = read_silence(body=body, now=moment, begun=None)
    active = Silence.objects.filter(tenant=tenant, ends_at__gt=moment)
    check_room(tenant=tenant, quota="max_silences", value=MOST_ACTIVE, rows=active)
    row = Silence.objects.create(
        tenant=tenant,
        matchers=spec.matchers,
        reason=spec.reason,
        author=str(actor),
        starts_at=spec.starts_at,
        ends_at=spec.ends_at,
    )
    row.refresh_from_db()
    _note(tenant, actor, "silence.created", row, None)
    return row


@transaction.atomic
def replace_silence(
    *, tenant: Tenant | None, silence_id: UUID | str, body: object, actor: Actor
) -> Silence:
    """Another end, reason or extent for a silence that is not over.

    Raises SilenceNotFound, InvalidRequest, StateConflict (it is over)."""
    row = access_silence(tenant=tenant, silence_id=silence_id, lock=True)
    moment = now()
    spec = read_silence(body=body, now=moment, begun=row.starts_at)
    if row.ends_at <= moment:
        raise StateConflict("The silence is over: make another one.", state="over", action="change")
    before = _shape(row)
    row.matchers, row.reason = spec.matchers, spec.reason
    row.starts_at, row.ends_at = spec.starts_at, spec.ends_at
    row.save()
    _note(tenant, actor, "silence.changed", row, before)
    return row


@transaction.atomic
def end_silence(*, tenant: Tenant | None, silence_id: UUID | str, actor: Actor) -> None:
    """End a silence now; one that has not begun never does.

    Raises SilenceNotFound, StateConflict (it is over)."""
    row = access_silence(tenant=tenant, silence_id=silence_id, lock=True)
    moment = now()
    if row.ends_at <= moment:
        raise StateConflict("The silence is over already.", state="over", action="end")
    before = _shape(row)
    row.starts_at, row.ends_at = min(row.starts_at, moment), moment
    row.save()
    _note(tenant, actor, "silence.ended", row, before)


def _note(tenant: Tenant | None, actor: Actor, action: str, row: Silence, before: object) -> None:
    record(
        tenant=tenant, actor=actor, action=action, target=str(row.pk), before=before,
        after=_shape(row),
    )  # fmt: skip


def _shape(row: Silence) -> dict[str, object]:
    view = silence_view(row, row.starts_at)
    return {
        "match": view["match"],
        "reason": row.reason,
        "starts_at": row.starts_at.isoformat(),
        "ends_at": row.ends_at.isoformat(),
    }


def create_window(*, tenant: Tenant | None, body: object, actor: Actor) -> MaintenanceWindow:
    """A new maintenance window, named by its body.  Raises InvalidRequest, AlreadyThere,
    OverQuota."""
    return _write(tenant, read_window(body=body, name=None), actor, replace=False)[0]


def replace_window(
    *, tenant: Tenant | None, name: str, body: object, actor: Actor
) -> tuple[MaintenanceWindow, bool]:
    """The window `name` as `body` says, and whether it is new.  Raises InvalidRequest, OverQuota."""
    return _write(tenant, read_window(body=body, name=name), actor, replace=True)


@transaction.atomic
def _write(
    tenant: Tenant | None, spec: WindowSpec, actor: Actor, *, replace: bool
) -> tuple[MaintenanceWindow, bool]:
    rows = MaintenanceWindow.objects.select_for_update()
    row = rows.filter(tenant=tenant, name=spec.name).first()
    taken = AlreadyThere(f"The window {spec.name} is there already.", window=spec.name)
    if row is not None and not replace:
        raise taken
    before = None if row is None else _window_shape(row)
    if row is None:
        check_room(
            tenant=tenant, quota="max_maintenance_windows", value=MOST_WINDOWS,
            rows=MaintenanceWindow.objects.filter(tenant=tenant),
        )  # fmt: skip
        row = MaintenanceWindow(tenant=tenant)
    for key in WindowSpec.__slots__:
        setattr(row, key, getattr(spec, key))
    row.updated_at, row.updated_by = now(), str(actor)
    try:
        with transaction.atomic():
            row.save()
    except IntegrityError as error:
        if before is not None or not isinstance(error.__cause__, UniqueViolation):
            raise
        raise taken from None
    row.refresh_from_db()
    record(
        tenant=tenant,
        actor=actor,
        action="maintenance_window.changed" if before else "maintenance_window.created",
        target=spec.name,
        before=before,
        after=_window_shape(row),
    )
    return row, before is None


@transaction.atomic
def delete_window(*, tenant: Tenant | None, name: str, actor: Actor) -> None:
    """Delete a maintenance window; one that is open closes.  Raises WindowNotFound."""
    row = access_window(tenant=tenant, name=name, lock=True)
    record(
        tenant=tenant, actor=actor, action="maintenance_window.deleted", target=name,
        before=_window_shape(row),
    )  # fmt: skip
    row.delete()


def _window_shape(row: MaintenanceWindow) -> dict[str, object]:
    view = window_view(row, row.updated_at)
    shape = {
        key: view[key] for key in ("match", "reason", "cron", "timezone", "duration", "enabled")
    }
    for key in ("starts_at", "ends_at"):
        moment = getattr(row, key)
        shape[key] = None if moment is None else moment.isoformat()
    return shape
