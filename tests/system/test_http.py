"""The HTTP API as its clients meet it: through the web process, with real workers behind it."""

from __future__ import annotations

import json
import re
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
import pytest

from tests.system.running_system import System, TestTenant
from tests.system.shapes import call

pytestmark = pytest.mark.system


@pytest.fixture
def echo(tenant: TestTenant) -> str:
    """A published workflow that answers its input's `value`."""
    tenant.publish("echo", [call("a", "echo", args={"value": "${{ input.value }}"})])
    return "echo"


def test_publish_get_and_list_workflows(tenant: TestTenant) -> None:
    document = {"name": "w", "steps": [call("a", "noop")]}
    made = tenant.http.put("/workflows/w", json=document)
    again = tenant.http.put("/workflows/w", json=document)
    assert (made.status_code, again.status_code) == (201, 200)
    assert made.json() == again.json()
    assert tenant.http.get("/workflows/w").json()["version"] == 1
    assert tenant.http.get("/workflows/w/versions/1").json()["checksum"] == made.json()["checksum"]
    assert [w["name"] for w in tenant.http.get("/workflows").json()["items"]] == ["w"]


def test_submit_with_wait_answers_at_the_end_and_without_at_once(
    tenant: TestTenant, echo: str
) -> None:
    waited = tenant.http.post(f"/workflows/{echo}/runs?wait=20", json={"input": {"value": 2**70}})
    assert (waited.status_code, waited.json()["state"]) == (200, "succeeded")
    assert f'"output":{2**70}' in waited.text.replace(" ", "")
    at_once = tenant.http.post(f"/workflows/{echo}/runs", json={"input": {"value": 1}})
    assert at_once.status_code == 202
    assert at_once.headers["Location"] == f"/api/v1/runs/{at_once.json()['id']}"


def test_wait_ends_with_its_time_and_holds_up_nobody(tenant: TestTenant) -> None:
    tenant.publish("slow", [call("a", "sleep", args={"ms": 60_000})])
    tenant.publish("quick", [call("a", "noop")])
    run = tenant.submit("slow")["id"]

    def wait(_: int) -> httpx.Response:
        return tenant.http.get(f"/runs/{run}", params={"wait": 3})

    with ThreadPoolExecutor(30) as threads:
        began = time.monotonic()
        waiting = list(map(threads.submit, [wait] * 30, range(30)))
        assert tenant.http.get("/runs", params={"limit": 1}).status_code == 200
        assert time.monotonic() - began < 2.5, "30 who wait take no thread from others"
        answers = [future.result() for future in waiting]
    assert {(a.status_code, a.json()["state"]) for a in answers} == {(200, "running")}
    tenant.http.post(f"/runs/{run}/cancel")
    assert tenant.wait(run)["state"] == "cancelled"


def test_a_client_that_leaves_while_it_waits_harms_nobody(
    system: System, tenant: TestTenant
) -> None:
    tenant.publish("slow", [call("a", "sleep", args={"ms": 60_000})])
    run = tenant.submit("slow")["id"]
    place, log = urlsplit(system.url), system.folder / "logs" / "web.log"
    before = len(log.read_text())
    for _ in range(5):
        with socket.create_connection((place.hostname or "", place.port or 0)) as leaver:
            leaver.sendall(
                f"GET /api/v1/runs/{run}?wait=60 HTTP/1.1\r\nHost: x\r\n"
                f"Authorization: Bearer {tenant.key}\r\n\r\n".encode()
            )
    tenant.http.post(f"/runs/{run}/cancel")
    assert tenant.wait(run)["state"] == "cancelled"
    said = log.read_text()[before:]
    assert not re.search(r"\b(WARNING|ERROR|CRITICAL)\b|Traceback", said), said


def test_idempotency_key_gives_the_first_run_to_racing_calls(tenant: TestTenant, echo: str) -> None:
    key = {"Idempotency-Key": str(uuid4())}

    def submit(_: int) -> httpx.Response:
        return tenant.http.post(
            f"/workflows/{echo}/runs", json={"input": {"value": 1}}, headers=key
        )

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(submit, range(16)))
    assert sorted({a.status_code for a in answers}) == [200, 202]
    assert len({a.json()["id"] for a in answers}) == 1
    assert [a.status_code for a in answers].count(202) == 1
    replayed = [a.headers.get("Idempotency-Replayed") for a in answers if a.status_code == 200]
    assert set(replayed) == {"true"}
    other = tenant.http.post(f"/workflows/{echo}/runs", json={"input": {"value": 2}}, headers=key)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


def test_bulk_answers_a_line_for_a_line_and_streams(tenant: TestTenant, echo: str) -> None:
    lines = [{"workflow": echo, "input": {"value": n}} for n in range(2500)]
    lines[7] = {"workflow": "absent", "input": {}}
    with tenant.http.stream(
        "POST", "/runs/bulk", content="\n".join(map(json.dumps, lines))
    ) as answer:
        assert answer.headers["Content-Type"] == "application/x-ndjson"
        rows = [json.loads(line) for line in answer.iter_lines()]
    assert [row["line"] for row in rows] == list(range(1, 2501))
    assert rows[7]["error"]["code"] == "workflow_not_found"
    made = [row["id"] for row in rows if "id" in row]
    assert len(set(made)) == 2499
    tenant.wait_all(made)


def test_get_and_list_runs_steps_and_events(tenant: TestTenant, echo: str) -> None:
    ids = [tenant.run(echo, {"value": n}, labels={"n": str(n)})["id"] for n in range(3)]
    page = tenant.http.get("/runs", params={"limit": 2, "workflow": echo}).json()
    rest = tenant.http.get("/runs", params={"limit": 2, "cursor": page["next_cursor"]}).json()
    assert [run["id"] for run in page["items"] + rest["items"]] == ids[::-1]
    assert rest["next_cursor"] is None
    assert tenant.http.get("/runs", params={"label": "n:1"}).json()["items"][0]["id"] == ids[1]
    assert tenant.steps(ids[2])["a"]["output"] == 2
    assert [event["type"] for event in tenant.events(ids[0])] == [
        "run.queued", "step.ready", "run.running", "step.running", "step.succeeded", "run.succeeded",
    ]  # fmt: skip


def test_cancel_answers_the_run_and_409_once_it_has_ended(tenant: TestTenant) -> None:
    tenant.publish("slow", [call("a", "sleep", args={"ms": 60_000})])
    run = tenant.submit("slow")["id"]
    assert tenant.http.post(f"/runs/{run}/cancel").status_code == 200
    assert tenant.wait(run)["state"] == "cancelled"
    again = tenant.http.post(f"/runs/{run}/cancel")
    assert (again.status_code, again.json()["code"]) == (409, "state_conflict")


def test_health_live_and_ready_need_no_key_and_metrics_are_served(system: System) -> None:
    for path in ("/health/live", "/health/ready"):
        assert httpx.get(system.url + path).json() == {"state": "ok"}
    assert httpx.get(f"{system.url}/health").status_code == 401
    text = httpx.get(f"{system.url}/metrics").text
    assert "\nmillrace_" in text


def test_problem_details_everywhere(system: System, tenant: TestTenant, echo: str) -> None:
    reader = system.tenant(scopes=["runs:read"])
    run = tenant.run(echo, {"value": 1})["id"]
    refusals = {
        401: system.client(None).get("/runs"),
        403: reader.http.put("/workflows/w", json={"steps": [call("a", "noop")]}),
        404: reader.http.get(f"/runs/{run}"),
        405: tenant.http.delete(f"/runs/{run}"),
        400: tenant.http.post(f"/workflows/{echo}/runs", content=b"{"),
        422: tenant.http.post(f"/workflows/{echo}/runs", json={"inptu": {}}),
        413: tenant.http.post(f"/workflows/{echo}/runs", content=b"[" * 5000 + b"]" * 5000),
    }
    for status, answer in refusals.items():
        assert answer.status_code == status, answer.text
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert answer.json()["status"] == status
        assert answer.json()["code"]
    assert "scope" in refusals[403].json()
    assert refusals[422].json()["errors"][0]["path"] == "/inptu"
    assert "did you mean input" in refusals[422].json()["errors"][0]["message"]


def test_keys_are_shown_once_hashed_and_scoped(system: System, tenant: TestTenant) -> None:
    made = system.manage("apikey_create", tenant.slug, "--scope", "runs:read")
    key = made.stdout.strip()
    assert (made.returncode, made.stdout) == (0, f"{key}\n")
    client = system.client(key)
    assert client.get("/runs").status_code == 200
    refused = client.post("/runs/bulk", content=b"")
    assert (refused.status_code, refused.json()["scope"]) == (403, "runs:write")
    secret = key[12:]  # it may have a "_" of its own
    kept = system.sql("SELECT row_to_json(k)::text FROM api_key k WHERE prefix = %s", key[:11])
    assert len(kept) == 1
    assert len(secret) > 30
    assert secret not in kept[0][0]
