"""The audit log as a file: NDJSON or CSV, a part at a time."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Literal

from django.utils import timezone

from orchestrator.domain.errors import InvalidRequest, Problem
from orchestrator.selectors.audit import FIELDS, AuditFilters, chunks
from orchestrator.selectors.payloads import render
from tenants.models import Tenant

Format = Literal["ndjson", "csv"]
TYPES: dict[Format, str] = {"ndjson": "application/x-ndjson", "csv": "text/csv; charset=utf-8"}
DEFAULT_WINDOW = timedelta(days=30)
LONGEST_WINDOW = timedelta(days=366)
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""How a cell begins that a spreadsheet would compute."""


def window(since: datetime | None, until: datetime | None) -> tuple[datetime, datetime]:
    """The window of an export: up to now and of 30 days unless it is said.  Raises InvalidRequest."""
    until = until or timezone.now()
    since = since or until - DEFAULT_WINDOW
    if not timedelta() < until - since <= LONGEST_WINDOW:
        message = f"the window from since to until has up to {LONGEST_WINDOW.days} days"
        raise InvalidRequest(problems=[Problem("/since", message, "out_of_range")])
    return since, until


def export(*, tenant: Tenant, filters: AuditFilters, form: Format) -> Iterator[bytes]:
    """The entries that the filters leave, oldest first; each part is read when it is asked for."""
    if form == "csv":
        yield _csv([FIELDS])
    for rows in chunks(tenant=tenant, filters=filters):
        if form == "ndjson":
            yield "".join(f"{render(row)}\n" for row in rows).encode()
        else:
            yield _csv([[_cell(row[name]) for name in FIELDS] for row in rows])


def _csv(rows: Sequence[Sequence[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()


def _cell(value: object) -> str:
    """A value as a cell that no spreadsheet takes for a formula."""
    if value is None:
        return ""
    text = value if isinstance(value, str) else render(value).strip('"')
    return f"'{text}" if text.startswith(_FORMULA) else text
