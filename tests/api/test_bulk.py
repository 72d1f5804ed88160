from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from typing import cast

import pytest
from asgiref.sync import async_to_sync, sync_to_async

from orchestrator.models import Run
from tenants import keys, services
from tenants.actors import SYSTEM
from tenants.models import ApiKey, Quota, Tenant
from tests.api.client import Api, streamed
from tests.api.conftest import ECHO


def line(n: object, **more: object) -> dict[str, object]:
    return {"workflow": "echo", "input": {"text": n}, **more}


def test_a_line_per_line(api: Api, echo: str, tenant: Tenant) -> None:
    answers = api.bulk(line(1), line(2**64, labels={"a": "b"}, priority=9))
    assert [set(a) for a in answers] == [{"line", "id"}] * 2
    assert [a["line"] for a in answers] == [1, 2]
    run = api.get(f"/runs/{answers[1]['id']}").body
    assert (run["input"], run["labels"], run["priority"]) == ({"text": 2**64}, {"a": "b"}, 9)
    assert Run.objects.filter(tenant=tenant).count() == 2


def test_a_bad_line_leaves_the_others(api: Api, echo: str, tenant: Tenant) -> None:
    api.put("/workflows/strict", {**ECHO, "input_schema": {"required": ["n"]}})
    api.put("/workflows/old", ECHO)
    concurrency = {"key": "${{ input.k }}", "on_conflict": "reject"}
    api.put("/workflows/keyed", {**ECHO, "concurrency": concurrency})
    api.post("/workflows/keyed/runs", {"input": {"k": 1}})
    api.delete("/workflows/old")
    bad: list[tuple[object, str, str | None]] = [
        (b"{", "malformed_json", None),
        (b"\xff", "malformed_json", None),
        (b"[" * 200 + b"]" * 200, "too_deep", None),
        (b'{"workflow":"echo","input":"\\u0000"}', "invalid_request", ""),
        ([], "invalid_request", ""),
        ({}, "invalid_request", ""),
        ({"workflow": 1}, "invalid_request", "/workflow"),
        ({"workflow": "nope"}, "workflow_not_found", None),
        ({"workflow": "Nope"}, "workflow_not_found", None),
        (line(1, inputs=1), "invalid_request", "/inputs"),
        (line(1, version=7), "invalid_request", "/version"),
        (line(1, idempotency_key=1), "invalid_request", "/idempotency_key"),
        (line(1, idempotency_key=""), "invalid_request", "/idempotency_key"),
        (line(1, start_at="soon"), "invalid_request", "/start_at"),
        ({"workflow": "keyed", "input": {"k": 1}}, "concurrency_conflict", None),
        ({"workflow": "keyed"}, "invalid_input", "/input"),
        ({"workflow": "strict"}, "invalid_input", "/input"),
        ({"workflow": "old"}, "state_conflict", None),
    ]
    lines = [given for given, _, _ in bad]
    answers = api.bulk(line(0), *lines, line(1))
    assert [a["line"] for a in answers] == list(range(1, len(bad) + 3))
    assert "id" in answers[0]
    assert "id" in answers[-1]
    for answer, (_, code, path) in zip(answers[1:-1], bad, strict=True):
        assert answer["error"]["code"] == code, answer
        if path is not None:
            assert [e["path"] for e in answer["error"]["errors"]] == [path]
    assert Run.objects.filter(tenant=tenant).count() == 3


def test_a_line_may_start_later(api: Api, echo: str, tenant: Tenant) -> None:
    (answer,) = api.bulk(line(1, start_at="1h"))
    run = api.get(f"/runs/{answer['id']}").body
    assert (run["state"], run["waiting"]["reason"]) == ("queued", "start_at")
    assert run["start_at"] == run["waiting"]["until"]


def test_blank_lines_are_counted_and_passed_over(api: Api, echo: str) -> None:
    assert [a["line"] for a in api.bulk(line(1), b"", b"  ", line(2))] == [1, 4]


def test_keys(api: Api, echo: str, tenant: Tenant) -> None:
    first, again, other, fresh = api.bulk(
        line(1, idempotency_key="k"),
        line(1, idempotency_key="k"),
        line(2, idempotency_key="k"),
        line(2, idempotency_key="l"),
    )
    assert first["id"] == again["id"] != fresh["id"]
    assert other["error"]["code"] == "idempotency_key_reused"
    later = api.bulk(line(1, idempotency_key="k"), line(3, idempotency_key="l"))
    assert later[0]["id"] == first["id"]
    assert later[1]["error"]["code"] == "idempotency_key_reused"
    single = api.post(
        "/workflows/echo/runs", {"input": {"text": 1}}, headers={"Idempotency-Key": "k"}
    )
    assert (single.status, single.body["id"]) == (200, first["id"])  # one key space for both doors
    assert Run.objects.filter(tenant=tenant).count() == 2


def test_many_chunks(api: Api, echo: str, tenant: Tenant) -> None:
    answers = api.bulk(*(line(n) for n in range(2500)))
    assert [a["line"] for a in answers] == list(range(1, 2501))
    assert len({a["id"] for a in answers}) == 2500
    assert Run.objects.filter(tenant=tenant).count() == 2500


def test_too_many_lines_make_nothing(api: Api, echo: str, tenant: Tenant) -> None:
    raw = b'{"workflow":"echo"}\n' * 100_001
    answer = api.send("POST", "/runs/bulk", raw=raw)
    assert (answer.status, answer.code) == (413, "too_large")
    assert not Run.objects.filter(tenant=tenant).exists()


def test_too_long_a_line(api: Api, echo: str, tenant: Tenant) -> None:
    Quota.objects.filter(tenant=tenant).update(max_payload_bytes=1024)
    keys.forget()
    answers = api.bulk(line(1), line("x" * 200_000), line(2))
    assert [a["line"] for a in answers] == [1, 2, 3]
    assert answers[1]["error"]["code"] == "too_large"
    assert "id" in answers[2]


@pytest.mark.parametrize("raw", [b"", b"\n"])
def test_nothing(api: Api, echo: str, raw: bytes) -> None:
    assert streamed(api.response("POST", "/runs/bulk", raw=raw)) == b""


def test_another_tenants_workflow_is_absent(api: Api, stranger: Api, echo: str) -> None:
    (answer,) = stranger.bulk(line(1))
    assert answer["error"]["code"] == "workflow_not_found"


def follow(api: Api, lines: int, then: Callable[[], object]) -> list[str]:
    """What becomes of so many lines, where something happens after the first chunk: `id`, or the code
    of an error."""
    text = json.dumps(line("x")).encode() + b"\n"
    response = api.response("POST", "/runs/bulk", raw=text * lines)

    async def collect() -> bytes:
        pieces = aiter(cast(AsyncIterator[bytes], response))
        first = await anext(pieces)
        await sync_to_async(then)()
        return first + b"".join([piece async for piece in pieces])

    answers = [json.loads(one) for one in async_to_sync(collect)().splitlines()]
    assert [a["line"] for a in answers] == list(range(1, lines + 1))
    return ["id" if "id" in a else a["error"]["code"] for a in answers]


@pytest.mark.parametrize("change", ["suspended", "revoked", "scopes", "max_steps", "payload"])
def test_each_chunk_looks_at_the_tenant_and_the_key(
    api: Api, echo: str, tenant: Tenant, change: str
) -> None:
    """The two thousand lines after the first thousand know what changed meanwhile."""

    def then() -> None:
        if change == "suspended":
            services.suspend(tenant=tenant, reason="r", actor=SYSTEM)
        elif change == "revoked":
            services.revoke_api_key(key=ApiKey.objects.get(tenant=tenant), actor=SYSTEM)
        elif change == "scopes":
            ApiKey.objects.filter(tenant=tenant).update(scopes=["runs:read"])
        elif change == "max_steps":
            Quota.objects.filter(tenant=tenant).update(max_steps=0)
        else:
            Quota.objects.filter(tenant=tenant).update(max_payload_bytes=2)
        keys.forget()

    found = follow(api, 3000, then)
    code = {"suspended": "tenant_suspended", "revoked": "invalid_key", "scopes": "missing_scope"}
    assert found == ["id"] * 1000 + [code.get(change, "too_large")] * 2000
    assert Run.objects.filter(tenant=tenant).count() == 1000
