"""Signals over HTTP: kept, taken, known again, refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest

from orchestrator.models import Signal
from tenants import keys
from tenants.models import AuditEntry, Quota, Tenant
from tests.api.client import Api

SCHEMA = {"type": "object", "required": ["ok"], "properties": {"ok": {"type": "boolean"}}}
ASK = {"name": "ask", "signal": "go.now-1"}


@pytest.fixture
def run_id(api: Api) -> str:
    """A run that waits for a signal, once something has decided so."""
    steps: list[dict[str, Any]] = [ASK, {**ASK, "name": "strict", "payload_schema": SCHEMA}]
    assert api.put("/workflows/w", {"steps": steps}).status == 201
    return str(api.post("/workflows/w/runs").body["id"])


def test_a_signal_is_kept_and_audited(api: Api, run_id: str, tenant: Tenant) -> None:
    answer = api.post(f"/runs/{run_id}/signals/go.now-1", {"payload": {"ok": True, "n": 2**64}})
    assert (answer.status, answer.body["id"], answer.body["state"]) == (200, run_id, "queued")
    assert Signal.objects.get().payload == '{"ok":true,"n":18446744073709551616}'
    entry = AuditEntry.objects.get(tenant=tenant, action="run.signal")
    assert (entry.target, entry.after) == (run_id, {"signal": "go.now-1", "dedup_key": None})
    (event,) = [
        e for e in api.get(f"/runs/{run_id}/events").body["items"] if e["type"] == "signal.received"
    ]
    assert event["data"] == {"name": "go.now-1", "dedup_key": None, "kept": True}
    assert event["actor"].startswith("key:")


def test_the_same_key_does_nothing_again(api: Api, run_id: str) -> None:
    for payload in (True, False):
        body = {"payload": {"ok": payload}, "dedup_key": "d"}
        assert api.post(f"/runs/{run_id}/signals/go.now-1", body).status == 200
    assert Signal.objects.get().payload == '{"ok":true}'
    assert AuditEntry.objects.filter(action="run.signal").count() == 1


BAD: dict[str, tuple[object, set[tuple[str, str]]]] = {
    "no object": ([], {("", "wrong_type")}),
    "unknown key": ({"payload": {"ok": True}, "key": 1}, {("/key", "unknown_key")}),
    "no payload": ({}, {("/payload", "bad_input")}),
    "bad payload": ({"payload": {"ok": 1}}, {("/payload/ok", "bad_input")}),
    "key no text": ({"payload": {"ok": True}, "dedup_key": 1}, {("/dedup_key", "wrong_type")}),
    "empty key": ({"payload": {"ok": True}, "dedup_key": ""}, {("/dedup_key", "out_of_range")}),
    "long key": (
        {"payload": {"ok": True}, "dedup_key": "x" * 256},
        {("/dedup_key", "out_of_range")},
    ),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_signal(api: Api, run_id: str, kind: str) -> None:
    body, findings = BAD[kind]
    answer = api.post(f"/runs/{run_id}/signals/go.now-1", body)
    assert (answer.status, answer.code, answer.findings) == (422, "invalid_request", findings)
    assert not Signal.objects.exists()


def test_the_run_and_the_signal_come_before_the_body(
    api: Api, stranger: Api, run_id: str, tenant: Tenant, key_of: Callable[..., Api]
) -> None:
    def refusal(client: Api, run: str, name: str, raw: bytes = b"{") -> tuple[int, str]:
        answer = client.post(f"/runs/{run}/signals/{name}", raw=raw)
        return answer.status, answer.code

    assert refusal(api, str(uuid4()), "go.now-1") == (404, "run_not_found")
    assert refusal(stranger, run_id, "go.now-1") == (404, "run_not_found")
    assert refusal(api, run_id, "other") == (404, "signal_not_found")
    assert refusal(api, run_id, "go.now-1") == (400, "malformed_json")
    assert refusal(key_of(tenant, "runs:read"), run_id, "go.now-1") == (403, "missing_scope")


def test_too_large_a_payload(api: Api, run_id: str, tenant: Tenant) -> None:
    Quota.objects.filter(tenant=tenant).update(max_payload_bytes=1024)
    keys.forget()
    for size in (1024, 1024 * 1024):
        answer = api.post(
            f"/runs/{run_id}/signals/go.now-1", {"payload": {"ok": True, "x": "x" * size}}
        )
        assert (answer.status, answer.code) == (413, "too_large")
    assert not Signal.objects.exists()


def test_a_run_that_has_ended_takes_none(api: Api, run_id: str) -> None:
    api.post(f"/runs/{run_id}/cancel")
    answer = api.post(f"/runs/{run_id}/signals/go.now-1", {"payload": {"ok": True}})
    assert (answer.status, answer.code, answer.body["state"]) == (
        409,
        "state_conflict",
        "cancelled",
    )


def test_too_many_are_refused(api: Api, run_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.store.signals.MOST_KEPT", 1)
    body = {"payload": {"ok": True}}
    assert api.post(f"/runs/{run_id}/signals/go.now-1", body).status == 200
    answer = api.post(f"/runs/{run_id}/signals/go.now-1", body)
    assert (answer.status, answer.code, answer.body["quota"]) == (429, "over_quota", "kept_signals")
    assert answer.headers["Retry-After"] == "1"
