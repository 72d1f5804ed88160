"""How parts were: their histories, and what was found by the deeper look.  Written by the clock."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Exists, OuterRef, Q, Subquery
from django.utils import timezone

from orchestrator.domain.health import DEEP, Check, Span, State, spans
from orchestrator.models import CanaryRun, HealthChange, HealthState

WINDOW = timedelta(hours=24)
MOST_CHANGES = 5000
"""Of all parts together, the newest; of one that flaps, what is before them is unknown."""
LATEST = 30


@dataclass(frozen=True, slots=True)
class Found:
    """What the deeper look found of a part; `seen_at`: when."""

    check: Check
    seen_at: datetime


@dataclass(frozen=True, slots=True)
class Change:
    """A part's state became another one.  `detail` is for staff."""

    name: str
    state: str
    detail: str
    at: datetime


def histories(names: Iterable[str], *, now: datetime | None = None) -> dict[str, list[Span]]:
    """Each part's last 24 hours, without holes.

    Changes are kept for 30 days: of what has not changed for longer, the present state says it."""
    until = now or timezone.now()
    since = until - WINDOW
    known = HealthState.objects.filter(name__in=list(names))
    before = HealthChange.objects.filter(name=OuterRef("name"), at__lte=since).order_by("-at")
    marks: dict[str, list[tuple[datetime, str]]] = {name: [] for name in names}
    for name, state, at, earlier in known.annotate(
        earlier=Subquery(before.values("state")[:1])
    ).values_list("name", "state", "since", "earlier"):
        if earlier is not None or at <= since:
            marks[name].append((since, earlier or state))
    rows = HealthChange.objects.filter(name__in=list(names), at__gt=since).order_by("-at")
    for name, state, at in reversed(rows.values_list("name", "state", "at")[:MOST_CHANGES]):
        marks[name].append((at, state))
    return {name: spans(found, since=since, until=until) for name, found in marks.items()}


def deep_findings() -> list[Found]:
    """What the clock's deeper look found, in the order of the parts (for staff)."""
    rows = {row.name: row for row in HealthState.objects.filter(deep=True)}
    return [
        Found(
            Check(name, State(row.state), row.detail, row.mend, row.since)
            if row.state in set(State)
            else Check(name, State.DEGRADED, "Nobody has looked: no clock ran.", "", row.since),
            row.seen_at,
        )
        for name, row in ((name, rows.get(name)) for name in DEEP)
        if row is not None
    ]


def latest_changes() -> list[Change]:
    """What changed last, newest first; that a part was well when it was first looked at is no change
    (for staff)."""
    before = HealthChange.objects.filter(name=OuterRef("name"), at__lt=OuterRef("at"))
    rows = HealthChange.objects.filter(~Q(state=State.OK) | Exists(before))
    return [
        Change(row.name, row.state, row.detail, row.at)
        for row in rows.order_by("-at", "-id")[:LATEST]
    ]


def canary_runs(*, hours: int = 24) -> list[tuple[datetime, str, float | None]]:
    """Canary runs that were judged: when they were sent, the outcome, seconds (for staff)."""
    rows = CanaryRun.objects.filter(
        sent_at__gte=timezone.now() - timedelta(hours=hours), outcome__isnull=False
    )
    found = rows.order_by("sent_at").values_list("sent_at", "outcome", "seconds")
    return [(at, outcome or "", seconds) for at, outcome, seconds in found]
