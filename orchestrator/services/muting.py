"""Which alerts nobody is told of: inhibited, silenced, in a maintenance window."""

from __future__ import annotations

import json
import logging
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from orchestrator.domain import routing
from orchestrator.domain.routing import Window
from orchestrator.store import Connection, alerts, muting, outbox
from orchestrator.store.alerts import Change
from orchestrator.store.muting import Alarmed, EnabledWindow

logger = logging.getLogger(__name__)

AT_ONCE = 5000


@dataclass(frozen=True, slots=True)
class _Quiet:
    """What keeps people from being told of alerts that match."""

    mark: str
    matchers: Mapping[str, str]
    why: str


def mark(connection: Connection) -> int:
    """Bring the marks of all alerts that fire to what mutes them now, with a line in the timeline of each
    that changed; answers how many."""
    changed = 0
    after = None
    while rows := muting.alarmed(connection, after=after, limit=AT_ONCE):
        changed += _mark(connection, rows)
        after = rows[-1].id
    return changed


def _mark(connection: Connection, rows: Sequence[Alarmed]) -> int:
    now = alerts.now(connection)
    wanted = muters(connection, rows, now)
    stale = {row.id: row for row in rows if row.muted_by != wanted.get(row.id, (None, ""))[0]}
    if not stale:
        return 0
    with connection.transaction():
        marks = [(one, wanted.get(one, (None, ""))[0]) for one in stale]
        changed = muting.mark(connection, marks)
        lines = [_line(row, wanted.get(one), now) for one, row in stale.items() if one in changed]
        alerts.add_changes(connection, lines)
        outbox.hurry(connection, changed - wanted.keys())
    return len(changed)


def _line(row: Alarmed, by: tuple[str, str] | None, now: datetime) -> Change:
    if by is None:
        return Change(row.tenant_id, row.id, now, "unmuted", detail=str(row.muted_by))
    return Change(row.tenant_id, row.id, now, "muted", detail=f"{by[0]}: {by[1]}")


def muters(
    connection: Connection, rows: Collection[Alarmed], now: datetime
) -> Mapping[UUID, tuple[str, str]]:
    """By alert, what mutes it now and why; alerts that people are told of are not in it."""
    sources = muting.sources(connection)
    quiet = _quiet(connection, {row.tenant_id for row in rows}, now)
    found: dict[UUID, tuple[str, str]] = {}
    for row in rows:
        source = routing.inhibited_by(row.rule, sources)
        if source is not None:
            found[row.id] = (f"alert:{source}", "it follows from that")
            continue
        seen = routing.facts(
            rule=row.rule, name=row.name, severity=row.severity, labels=json.loads(row.labels)
        )
        for one in quiet[row.tenant_id]:
            if routing.matches(one.matchers, seen):
                found[row.id] = (one.mark, one.why)
                break
    return found


def _quiet(
    connection: Connection, owners: Collection[int], now: datetime
) -> defaultdict[int, list[_Quiet]]:
    """The silences and open windows of these tenants."""
    found: defaultdict[int, list[_Quiet]] = defaultdict(list)
    for silence in muting.silences(connection, owners):
        why = f"{silence.reason} ({silence.author})"
        found[silence.tenant_id].append(_Quiet(silence.mark, json.loads(silence.matchers), why))
    for window in muting.windows(connection, owners):
        if _is_open(window, now):
            quiet = _Quiet(window.mark, json.loads(window.matchers), window.reason)
            found[window.tenant_id].append(quiet)
    return found


def _is_open(one: EnabledWindow, now: datetime) -> bool:
    """Whether a window is open; one that cannot be judged (its zone is gone) is not, and harms no other."""
    try:
        window = Window(one.cron, one.zone, one.duration, one.starts_at, one.ends_at)
        return window.open_until(now) is not None
    except Exception:
        logger.exception("the maintenance %s cannot be judged", one.mark)
        return False
