"""What an address's query may say; anything else counts as not said."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

from django.utils import timezone

from dashboard.words import RUN_STATES
from orchestrator.selectors.runs import RunFilters
from orchestrator.selectors.stats import MAX_WINDOW_S, WINDOWS

DEFAULT_WINDOW = "1h"
PERIODS = {"15m": "last 15 min", "1h": "last hour", "24h": "last 24 h", "7d": "last 7 days"}


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of time: a named one that ends now, or one that was brushed out of a chart.

    `name` is empty for the latter; `until` None means now."""

    name: str
    seconds: int
    until: datetime | None = None


def window(query: Mapping[str, str]) -> Window:
    """`?window=1h`, or `?from=…&to=…` in seconds since 1970."""
    try:
        since, until = int(query["from"]), int(query["to"])
        if 0 < until - since <= MAX_WINDOW_S and since > 0:
            return Window("", until - since, datetime.fromtimestamp(until, UTC))
    except (KeyError, ValueError, OverflowError, OSError):
        pass
    name = query.get("window", DEFAULT_WINDOW)
    name = name if name in WINDOWS else DEFAULT_WINDOW
    return Window(name, WINDOWS[name])


@dataclass(frozen=True, slots=True)
class RunsQuery:
    """The filters of the list of runs as its form shows them."""

    state: str = ""
    workflow: str = ""
    label: str = ""
    period: str = ""
    text: str = ""
    cursor: str = ""

    @property
    def is_filtered(self) -> bool:
        """Whether anything narrows the list."""
        return any((self.state, self.workflow, self.label, self.period, self.text))

    @property
    def kept(self) -> str:
        """What is set, as an address's query without the cursor."""
        asked = {
            "state": self.state,
            "workflow": self.workflow,
            "label": self.label,
            "period": self.period,
            "q": self.text,
        }
        return urlencode({name: value for name, value in asked.items() if value})

    def filters(self) -> RunFilters:
        """The same as the selector takes it."""
        name, _, value = self.label.partition(":")
        since = WINDOWS.get(self.period)
        return RunFilters(
            workflow=self.workflow or None,
            states=(self.state,) if self.state else (),
            labels={name: value} if name else {},
            created_after=timezone.now() - timedelta(seconds=since) if since else None,
            text=self.text or None,
        )


def runs_query(query: Mapping[str, str]) -> RunsQuery:
    """`?state=&workflow=&label=k:v&period=&q=&cursor=`."""

    def text(name: str) -> str:
        return query.get(name, "").replace("\0", "").strip()[:200]

    state, period, label = text("state"), text("period"), text("label")
    name, _, value = label.partition(":")
    return RunsQuery(
        state=state if state in RUN_STATES else "",
        workflow=text("workflow"),
        label=label if name and value else "",
        period=period if period in PERIODS else "",
        text=text("q"),
        cursor=query.get("cursor", "")[:500],
    )
