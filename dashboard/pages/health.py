"""Health: each part's state, since when, and its last 24 hours; and what concerns the tenant itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from dashboard import words
from dashboard.live.page import Arguments, Context, Page, Query
from orchestrator.domain.health import CHECKS, DEEP, Check, Span, share_ok
from orchestrator.selectors.health import checks, overall
from orchestrator.selectors.health_history import WINDOW, histories
from orchestrator.selectors.tenant_health import tenant_health
from tenants.access import Access

LOOKS = {
    "ok": ("succeeded", "check", "ok"),
    "degraded": ("waiting", "warning", "degraded"),
    "down": ("failed", "cross", "down"),
    "unknown": ("idle", "idle", "not known"),
}
"""Each state's class in the style sheet, icon and word."""
OWN = {
    "work": "Ready work",
    "steps": "Workers for it",
    "hosts": "Hosts it calls",
    "limits": "Limits",
}
HEADLINES = {
    "ok": "All is well",
    "degraded": "Something is not as it should be",
    "down": "Something is down",
}


@dataclass(frozen=True, slots=True)
class Bar:
    """A stretch of the strip: where it begins and how wide it is, of 1,000; what it says, with `{}`
    for the moment in which it began."""

    kind: str
    x: float
    width: float
    words: str
    since: datetime

    @property
    def said(self) -> str:
        """The words for who reads without a script."""
        return self.words.replace("{}", f"{self.since:%H:%M} UTC")


@dataclass(frozen=True, slots=True)
class Row:
    """A part as the page shows it; `detail` and `mend` are empty for whom they do not concern."""

    name: str
    title: str
    state: str
    kind: str
    icon: str
    word: str
    since: datetime | None
    words: str
    detail: str
    mend: str
    bars: tuple[Bar, ...]
    summary: str


def context(access: Access, _arguments: Arguments, _query: Query) -> Context:
    """Everything that the page shows to members of a tenant."""
    seen = checks()
    return {
        "headline": headline(seen),
        "rows": server_rows(seen, told=False),
        "own": [own_row(check) for check in tenant_health(tenant=access.tenant)],
    }


def headline(seen: Sequence[Check]) -> Row:
    """The whole in one line."""
    state = str(overall(seen))
    ill = [CHECKS[one.name].title for one in seen if str(one.state) != "ok"]
    said = f"Not as they should be: {', '.join(ill)}." if ill else "Every part is as it should be."
    kind, icon, word = LOOKS[state]
    return Row("", HEADLINES[state], state, kind, icon, word, None, said, "", "", (), "")


def server_rows(seen: Sequence[Check], *, told: bool) -> list[Row]:
    """The server's parts with their last day; `told`: with what was seen and what mends it."""
    found = histories([check.name for check in seen])
    return [row(check, found[check.name], told=told) for check in seen]


def row(check: Check, history: Sequence[Span] = (), *, told: bool) -> Row:
    """One part."""
    about = CHECKS.get(check.name) or DEEP[check.name]
    kind, icon, word = LOOKS[str(check.state)]
    return Row(
        name=check.name,
        title=about.title,
        state=str(check.state),
        kind=kind,
        icon=icon,
        word=word,
        since=check.since,
        words=about.words(check.state),
        detail=check.detail if told else "",
        mend=check.mend if told else "",
        bars=tuple(bars(history)),
        summary=summary(history),
    )


def own_row(check: Check) -> Row:
    """A part of the tenant's own."""
    kind, icon, word = LOOKS[str(check.state)]
    title = OWN[check.name]
    return Row(
        check.name, title, str(check.state), kind, icon, word, None, check.detail, "", check.mend, (), "",
    )  # fmt: skip


def bars(history: Sequence[Span]) -> list[Bar]:
    """The strip of a history; what is too short to be seen is drawn two units wide."""
    if not history:
        return []
    begin = history[0].since
    whole = WINDOW.total_seconds()
    found = []
    for span in history:
        x = (span.since - begin).total_seconds() / whole * 1000
        width = (span.until - span.since).total_seconds() / whole * 1000
        kind, _, word = LOOKS[span.state]
        said = f"{word} from {{}} for {words.span(span.since, span.until)}"
        ill = span.state not in ("ok", "unknown")
        wide = round(max(width, 2.0 if ill else 0.0), 1)
        found.append(Bar(kind, round(min(x, 998), 1), wide, said, span.since.astimezone(UTC)))
    # what is ill is drawn last: a short one stays to be seen
    return sorted(found, key=lambda bar: bar.kind in ("waiting", "failed"))


def summary(history: Sequence[Span]) -> str:
    """A history in words: `99.8 % ok, 2 times not`."""
    share = share_ok(history)
    if share is None:
        return "nobody has looked yet"
    ill = sum(span.state in ("degraded", "down") for span in history)
    times = "" if not ill else ", once not" if ill == 1 else f", {ill} times not"
    # not rounded up: a minute of a day is told
    return f"{int(share * 1000) / 10:g} % ok{times}"


HEALTH = Page("health", "dashboard/health.html", ("headline", "own", "rows"), context)
