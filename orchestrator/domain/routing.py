"""Which alerts go where: matchers, groups, inhibition, and windows in which nobody is told."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from fnmatch import fnmatchcase

from orchestrator.domain.calendar import Cron, newest
from orchestrator.domain.observations import Severity

RANK: Mapping[str, int] = {Severity.WARNING: 1, Severity.CRITICAL: 2}
OWN_KEYS = ("rule", "name", "severity")
"""What of an alert is matched and grouped by beside its labels; a label of such a name is hidden."""


@dataclass(frozen=True, slots=True)
class Inhibition:
    """While a critical alert of the server fires whose rule is like `source`, those like `target` are
    not told.

    Both are patterns with `*` and `?`; the target's alerts are the server's and every tenant's."""

    source: str
    target: str


INHIBITIONS: tuple[Inhibition, ...] = (
    Inhibition("health:database", "*"),
    Inhibition("health:clock", "sla:*"),
    Inhibition("health:clock", "*canary"),
    Inhibition("health:workers", "*canary"),
)
"""What follows from what: a red database makes everything else red.  One that is only degraded (a
warning) mutes nothing, and so does the evaluator, of which one rule may fail while the others are seen."""


def facts(*, rule: str, name: str, severity: str, labels: Mapping[str, str]) -> dict[str, str]:
    """What matchers and groups see of an alert."""
    return {**labels, "rule": rule, "name": name, "severity": severity}


def matches(matchers: Mapping[str, str], seen: Mapping[str, str]) -> bool:
    """Whether every matcher (a key of `facts` to a pattern with `*` and `?`) holds; a label that is
    not there reads as empty."""
    return all(fnmatchcase(seen.get(key, ""), pattern) for key, pattern in matchers.items())


def wanted(least: str, matchers: Mapping[str, str], seen: Mapping[str, str]) -> bool:
    """Whether a channel that takes `least` and above, of what its matchers hold for, takes an alert."""
    return RANK[seen["severity"]] >= RANK[least] and matches(matchers, seen)


def group_key(keys: Sequence[str], seen: Mapping[str, str]) -> str:
    """The name of an alert's group: its values of `keys`; without keys everything is one group."""
    return json.dumps([[key, seen.get(key, "")] for key in keys], ensure_ascii=False)


def inhibited_by(rule: str, sources: Iterable[str]) -> str | None:
    """Of the server's rules with a critical alert (`sources`), the one that mutes `rule`; None where none does.

    No rule mutes itself.  `INHIBITIONS` has no circles, so that something is always told."""
    firing = tuple(sources)
    for one in INHIBITIONS:
        if not fnmatchcase(rule, one.target):
            continue
        for source in firing:
            if source != rule and fnmatchcase(source, one.source):
                return source
    return None


@dataclass(frozen=True, slots=True)
class Window:
    """A maintenance window: every time `cron` comes in `zone` for `duration`, or once."""

    cron: str | None
    zone: str
    duration: timedelta | None
    starts_at: datetime | None
    ends_at: datetime | None

    def open_until(self, now: datetime) -> datetime | None:
        """When the window that is open now ends; None while it is not."""
        if self.cron is None or self.duration is None:
            begin, end = self.starts_at, self.ends_at
            return end if begin is not None and end is not None and begin <= now < end else None
        timing = Cron(self.cron, self.zone)
        begun = newest(timing, since=now - self.duration, until=now, most=1)
        if not begun:
            return None
        end = begun[0] + self.duration
        return end if now < end else None
