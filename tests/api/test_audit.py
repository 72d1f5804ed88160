"""The audit log: pages, filters, files; and the database that keeps it."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from urllib.parse import quote

import pytest
from django.db import ProgrammingError, connection, transaction
from django.db.backends.utils import CursorWrapper
from django.utils import timezone

from orchestrator import store
from orchestrator.store import clock
from tenants.actors import Actor
from tenants.models import AuditEntry, Tenant
from tenants.services import record
from tests.api.client import Api, streamed

ADA = Actor("user", "ada", "192.0.2.7")


def entry(
    tenant: Tenant, action: str, target: str = "x", *, days: int = 0, before: object = None,
    after: object = None,
) -> None:  # fmt: skip
    """An entry made so many days ago."""
    made = record(
        tenant=tenant, actor=ADA, action=action, target=target, before=before, after=after
    )
    if days:
        at = timezone.now() - timedelta(days=days)
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE audit_entry DISABLE TRIGGER audit_entry_stays")
            cursor.execute("UPDATE audit_entry SET at = %s WHERE id = %s", [at, made.pk])
            cursor.execute("ALTER TABLE audit_entry ENABLE TRIGGER audit_entry_stays")


def test_pages_newest_first_with_filters(api: Api, tenant: Tenant) -> None:
    before: datetime = timezone.now()
    for number in range(3):
        entry(tenant, "quota.set", f"q{number}", before={"n": number}, after={"n": number + 1})
    entry(tenant, "run.cancel", "r")
    page = api.get("/audit?limit=2").body
    assert [one["target"] for one in page["items"]] == ["r", "q2"]
    rest = api.get(f"/audit?limit=2&cursor={page['next_cursor']}").body["items"]
    assert [one["target"] for one in rest] == ["q1", "q0"]
    assert rest[0] | {"id": 0, "at": ""} == {
        "id": 0, "at": "", "actor": "user:ada", "action": "quota.set", "target": "q1",
        "origin": "192.0.2.7", "before": {"n": 1}, "after": {"n": 2},
    }  # fmt: skip
    asked = {
        "action=quota.*": 3, "action=quota.set": 3, "action=quota.": 0, "actor=user:*&target=q1": 1,
        "actor=user:ada&action=run.*": 1, "origin=192.0.2.7": 4, "origin=192.0.2.8": 0, "target=r": 1,
        f"since={quote(before.isoformat())}&actor=user:*": 4, f"until={quote(before.isoformat())}&actor=user:*": 0,
    }  # fmt: skip
    for query, count in asked.items():
        assert len(api.get(f"/audit?{query}").body["items"]) == count, query
    assert api.get("/audit?cursor=x").code == "invalid_cursor"
    assert api.get("/audit?since=yesterday").findings == {("/since", "bad_time")}


@pytest.mark.parametrize("form", ["ndjson", "csv"])
def test_a_window_as_a_file(
    api: Api, tenant: Tenant, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.selectors.audit.CHUNK", 2)
    for number in range(5):
        entry(tenant, "quota.set", f"q{number}", after={"text": 'a "b", c\nd'})
    entry(tenant, "quota.set", "old", days=40)
    response = api.response("GET", f"/audit/export?format={form}&actor=user:ada")
    assert response.headers["Content-Disposition"] == f'attachment; filename="audit.{form}"'
    text = streamed(response).decode()
    if form == "ndjson":
        rows = [json.loads(line) for line in text.splitlines()]
        assert rows[0]["after"] == {"text": 'a "b", c\nd'}
    else:
        rows = list(csv.DictReader(io.StringIO(text)))
        assert json.loads(rows[0]["after"]) == {"text": 'a "b", c\nd'}
        assert rows[0]["before"] == ""
    assert [row["target"] for row in rows] == [f"q{number}" for number in range(5)]


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "＝1"])
def test_no_cell_is_a_formula(api: Api, tenant: Tenant, text: str) -> None:
    entry(tenant, "quota.set", text)
    rows = streamed(api.response("GET", "/audit/export?format=csv&actor=user:ada")).decode()
    assert next(csv.DictReader(io.StringIO(rows, newline="")))["target"] == f"'{text}"


def test_a_window_is_bounded(api: Api, db: None) -> None:
    for query in ("since=2020-01-01T00:00:00Z", "since=2999-01-01T00:00:00Z", "format=xml"):
        assert api.get(f"/audit/export?{query}").status == 422


@contextmanager
def refused() -> Iterator[CursorWrapper]:
    """What is executed inside is refused by the table, and undone."""
    with (
        pytest.raises(ProgrammingError, match="takes new rows only"),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        yield cursor


CHANGES = (
    "UPDATE audit_entry SET actor = 'nobody'",
    "UPDATE audit_entry SET at = at",
    "DELETE FROM audit_entry",
    "DELETE FROM audit_entry WHERE at < now() - interval '30 days'",
)


@pytest.mark.parametrize("statement", CHANGES)
def test_the_database_refuses_every_other_change(tenant: Tenant, statement: str) -> None:
    entry(tenant, "quota.set", days=40)
    before = AuditEntry.objects.count()
    with refused() as cursor:
        cursor.execute(statement)
    assert AuditEntry.objects.count() == before


def test_it_is_not_emptied(tenant: Tenant) -> None:
    with refused() as cursor:
        cursor.execute("TRUNCATE audit_entry")


def test_a_setting_of_a_session_does_not_open_it(tenant: Tenant) -> None:
    entry(tenant, "quota.set")
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL millrace.audit_forgets = 'on'")
    with refused() as cursor:
        cursor.execute("DELETE FROM audit_entry")


def test_retention_takes_what_is_old_and_nothing_younger_than_a_month(tenant: Tenant) -> None:
    for days in (0, 20, 40, 500):
        entry(tenant, "quota.set", str(days), days=days)
    forget = clock.forget_audit
    assert forget(store.connection(), days=400, limit=10) == 1
    assert forget(store.connection(), days=1, limit=10) == 1
    assert forget(store.connection(), days=1, limit=10) == 0
    left = AuditEntry.objects.filter(action="quota.set").order_by("pk")
    assert [one.target for one in left] == ["0", "20"]
    with refused() as cursor:
        cursor.execute("DELETE FROM audit_entry")


def test_a_submission_is_told_with_its_workflow_and_a_bulk_call_once(
    api: Api, echo: str, tenant: Tenant, key_of: Callable[..., Api]
) -> None:
    headers = {"Idempotency-Key": "k"}
    run_id = api.post("/workflows/echo/runs", {"input": {"text": 1}}, headers=headers).body["id"]
    assert api.post("/workflows/echo/runs", {"input": {"text": 1}}, headers=headers).status == 200
    api.bulk(*[{"workflow": "echo", "input": {"text": 1}}] * 3)
    entries = AuditEntry.objects.filter(tenant=tenant, action="run.submitted").order_by("pk")
    assert [(one.target, one.after) for one in entries] == [
        (run_id, {"workflow": "echo"}),
        ("", {"runs": 3}),
    ]
    assert {one.origin for one in entries} == {"127.0.0.1"}
