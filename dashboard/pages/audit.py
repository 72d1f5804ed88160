"""The audit log: who did what, what it changed, and from where."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from urllib.parse import urlencode

from django.utils import timezone

from dashboard.live.page import Arguments, Context, Page, Query
from dashboard.pages.query import PERIODS
from orchestrator.domain.errors import InvalidCursor
from orchestrator.selectors.audit import AuditFilters, list_entries
from orchestrator.selectors.stats import WINDOWS
from tenants.access import Access
from tenants.models import Role

LIMIT = 50
TEXTS = ("actor", "action", "target", "origin")


@dataclass(frozen=True, slots=True)
class AuditQuery:
    """The filters of the log as its form shows them."""

    actor: str = ""
    action: str = ""
    target: str = ""
    origin: str = ""
    period: str = ""
    cursor: str = ""

    @property
    def kept(self) -> str:
        """What is set, as an address's query without the cursor; empty where nothing is."""
        asked = {name: getattr(self, name) for name in (*TEXTS, "period")}
        return urlencode({name: value for name, value in asked.items() if value})

    def filters(self) -> AuditFilters:
        """The same as the selector takes it."""
        since = WINDOWS.get(self.period)
        return AuditFilters(
            **{name: getattr(self, name) or None for name in TEXTS},
            since=timezone.now() - timedelta(seconds=since) if since else None,
        )


def audit_query(query: Mapping[str, str]) -> AuditQuery:
    """`?actor=&action=&target=&origin=&period=&cursor=`."""
    texts = {name: query.get(name, "").replace("\0", "").strip()[:200] for name in TEXTS}
    period = query.get("period", "")
    return AuditQuery(
        **texts, period=period if period in PERIODS else "", cursor=query.get("cursor", "")[:500]
    )


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that an entry changed; None: it was not there."""

    name: str
    before: object
    after: object


def changes(before: object, after: object) -> Iterator[Change]:
    """What differs between an entry's two sides, a line each; of one side alone, all of it."""
    if not isinstance(before, dict) and not isinstance(after, dict):
        if before is not None or after is not None:
            yield Change("", before, after)
        return
    old = before if isinstance(before, dict) else {} if before is None else {"": before}
    new = after if isinstance(after, dict) else {} if after is None else {"": after}
    for name in dict.fromkeys((*old, *new)):
        if old.get(name) != new.get(name) or name not in old or name not in new:
            yield Change(name, old.get(name), new.get(name))


def audit_context(access: Access, _arguments: Arguments, query: Query) -> Context:
    """A page of the log, newest first."""
    asked = audit_query(query)
    read = partial(list_entries, tenant=access.tenant, filters=asked.filters(), limit=LIMIT)
    try:
        page = read(cursor=asked.cursor or None)
    except InvalidCursor:
        page = read()
    rows = [{**row, "changes": list(changes(row["before"], row["after"]))} for row in page.items]
    return {"rows": rows, "next_cursor": page.next_cursor, "asked": asked, "periods": PERIODS}


AUDIT = Page("audit", "dashboard/audit.html", ("rows",), audit_context, role=Role.ADMIN)
