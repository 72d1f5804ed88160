"""Numbers, spans of time and reasons in words: how the interface says things."""

from __future__ import annotations

import math
import re
from datetime import datetime

from orchestrator.domain.slo import words as slo

STATE_ICONS = {
    "queued": "clock",
    "blocked": "lock",
    "ready": "arrow",
    "running": "spinner",
    "waiting": "hourglass",
    "paused": "pause",
    "succeeded": "check",
    "failed": "cross",
    "skipped": "skip",
    "cancelled": "slash",
    "idle": "idle",
}
"""The icon of each state of a run or a step; its word is the state itself."""

RUN_STATES = ("queued", "running", "paused", "succeeded", "failed", "cancelled")
STEP_STATES = (
    "succeeded",
    "running",
    "waiting",
    "ready",
    "failed",
    "cancelled",
    "skipped",
    "blocked",
)
"""In the order in which a run's progress bar shows them."""

REASONS = {
    "connections": "all of the tenant's connections are in use",
    "total_connections": "all of the server's connections are in use",
    "pool": "its pool lets none start now",
    "breaker": "the host that it calls fails",
    "max_parallel": "the run holds as many connections as it may",
    "paused": "paused",
    "no_worker": "no live worker can run it",
    "queue": "in the queue",
    "retry": "before its next attempt",
    "compensate": "its compensation decides what becomes of it",
    "snooze": "until it asked to be called again",
    "sleep": "asleep",
    "signal": "for a signal",
    "child": "for its child run",
    "repeat": "before its next time",
    "start_at": "for its time to start",
    "concurrency": "for a place among the runs of its key",
    "cache": "for another step that makes its cached output",
    "upstream_failed": "a step before it failed",
    "upstream_skipped": "a step before it was skipped",
    "trigger_rule": "its trigger rule cannot hold any more",
    "condition": "its condition was false",
    "manual": "by hand",
}


_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def reason(code: str) -> str:
    """What a waiting or skipping reason means; a handler's own words stay as they are."""
    return REASONS.get(code, code)


def duration(seconds: float | None) -> str:
    """`340 ms`, `2.41 s`, `3 m 20 s`, `2 h 5 m`, `3 d 4 h`; – for None."""
    if seconds is None or math.isnan(seconds):
        return "–"
    seconds = max(seconds, 0.0)
    if seconds < 0.0095:
        return f"{seconds * 1000:.1f} ms" if seconds else "0 ms"
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 59.5:
        return f"{seconds:.2f} s" if seconds < 9.995 else f"{seconds:.1f} s"
    whole = round(seconds)
    for big, small, size, part in (
        ("m", "s", 60, 1),
        ("h", "m", 3600, 60),
        ("d", "h", 86_400, 3600),
    ):
        if whole < size * (60 if size < 3600 else 24) or size == 86_400:
            rest = whole % size // part
            return f"{whole // size} {big} {rest} {small}" if rest else f"{whole // size} {big}"
    raise AssertionError  # the days catch everything


def span(since: datetime | None, until: datetime | None) -> str:
    """The duration between two moments; – where one is missing."""
    return duration((until - since).total_seconds()) if since and until else "–"


def count(value: float | None) -> str:
    """`7`, `4,210`, `38.2k`, `1.4M`."""
    if value is None:
        return "–"
    if value < 10_000:
        return f"{value:,.0f}"
    return f"{value / 1000:.1f}k" if value < 999_950 else f"{value / 1_000_000:.1f}M"


def measured(value: float | None, unit: str, limit: float | None = None) -> str:
    """A value of an alert in its unit: `340 ms`, `99.85 %`, `97 per h`, `7`; with the digits that tell it
    from its limit, and in its unit."""
    if value is None:
        return "–"
    if unit == "s":
        return duration(value)
    if unit == "share":
        return slo.percent(value)
    if unit == "per_s":
        return slo.rate(value, limit)
    return exact(value) if value == int(value) else f"{value:,.2f}"


def exact(value: float | None) -> str:
    """Every digit: `7`, `10,000`."""
    return "–" if value is None else f"{value:,.0f}"


def size(value: float | None) -> str:
    """Bytes: `0 B`, `8 KiB`, `1.5 GiB`."""
    if value is None:
        return "–"
    power = 0
    while value >= 1023.95 and power < len(_UNITS) - 1:
        value, power = value / 1024, power + 1
    text = f"{value:.0f}" if not power or value >= 99.95 else f"{value:.1f}".removesuffix(".0")
    return f"{text} {_UNITS[power]}"


def amount(value: float | None, unit: str) -> str:
    """A limit or its use: bytes, days, or a plain number."""
    if value is None:
        return "–"
    if unit == "bytes":
        return size(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:,g}"


def rate(value: float | None) -> str:
    """Per second, with the digits that matter: `0`, `0.04`, `3.2`, `184`."""
    if value is None:
        return "–"
    if value == 0:
        return "0"
    if value < 0.005:
        return "<0.01"
    return f"{value:.2f}" if value < 1 else f"{value:.1f}" if value < 100 else count(value)


def percent(value: float | None) -> str:
    """A share from 0 to 1: `0 %`, `0.3 %`, `12 %`."""
    if value is None:
        return "–"
    hundred = value * 100
    return f"{hundred:.1f} %" if 0 < hundred < 10 else f"{hundred:.0f} %"


def trimmed(text: str) -> str:
    """A number on an axis: `8 s` for `8.00 s`, `2.5` for `2.50`."""
    return re.sub(r"(\.\d*?)0+(?=\D|$)", lambda found: found[1].rstrip("."), text)


def short_id(text: str) -> str:
    """An id with its middle left out: `01a2b3c4…f00d`."""
    return text if len(text) <= 14 else f"{text[:8]}…{text[-4:]}"


_BROWSERS = (
    ("Edg/", "Edge"),
    ("OPR/", "Opera"),
    ("Firefox/", "Firefox"),
    ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
)
_SYSTEMS = (
    ("Windows", "Windows"),
    ("Android", "Android"),
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Mac OS", "macOS"),
    ("Linux", "Linux"),
)


def browser(agent: str) -> str:
    """What a User-Agent header says in the words of its owner: `Firefox on Linux`."""
    name = next((name for mark, name in _BROWSERS if mark in agent), "")
    system = next((name for mark, name in _SYSTEMS if mark in agent), "")
    return " on ".join(filter(None, (name, system))) or agent[:60] or "unknown"
