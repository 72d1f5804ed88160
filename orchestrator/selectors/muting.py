"""Why nobody is told of an alert: the silence, the window or the other alert that its mark names."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from orchestrator.domain.alerts import ALARMED
from orchestrator.domain.errors import NotFound
from orchestrator.models import Alert, MaintenanceWindow
from orchestrator.selectors.channels import access_silence, access_window, window_view


@dataclass(frozen=True, slots=True)
class Muting:
    """What mutes an alert.  `kind`: `silence`, `window` or `alert`; `name`: of a window, or the rule of the
    alert that it follows from; `alert`: that one's id, where its owner is the same.  `until` None: as
    long as that other alert fires, or nobody knows."""

    kind: str
    name: str
    reason: str = ""
    author: str = ""
    until: datetime | None = None
    alert: UUID | None = None


def muting_of(row: Alert, now: datetime) -> Muting | None:
    """What mutes it now; None where people are told of it, or it is over."""
    if row.muted_by is None or row.state not in ALARMED:
        return None
    kind, _, name = row.muted_by.partition(":")
    try:
        if kind == "silence":
            silence = access_silence(tenant=row.tenant, silence_id=name)
            return Muting(kind, name, silence.reason, silence.author, silence.ends_at)
        if kind == "window":
            window = access_window(tenant=row.tenant, name=name)
            return Muting(kind, name, window.reason, until=_open_until(window, now))
    except NotFound:
        # deleted a moment ago: the mark goes when alerts are routed next
        return Muting(kind, name)
    source = Alert.objects.filter(tenant=row.tenant, rule=name, state__in=sorted(ALARMED)).first()
    return Muting(kind, name, alert=None if source is None else source.pk)


def _open_until(window: MaintenanceWindow, now: datetime) -> datetime | None:
    until = window_view(window, now)["open_until"]
    return until if isinstance(until, datetime) else None
