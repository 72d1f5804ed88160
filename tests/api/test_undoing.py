"""Undoing a run on request: once, when it has ended, if there is something to undo."""

from __future__ import annotations

from typing import Any

import pytest

from tenants.models import AuditEntry, Tenant
from tests.api.client import Api
from tests.engine import Engine

UNDO = {"handler": "core.echo", "args": {}}
PAIR = [
    {"name": "a", "handler": "core.echo", "undo": UNDO},
    {"name": "b", "handler": "core.echo", "depends_on": ["a"], "undo": UNDO},
]


@pytest.fixture
def run_id(api: Api) -> str:
    assert api.put("/workflows/pair", {"steps": PAIR}).status == 201
    return str(api.post("/workflows/pair/runs", {}).body["id"])


def undos(api: Api, run_id: str) -> list[Any]:
    """The undo of each step."""
    return [step["undo"] for step in api.get(f"/runs/{run_id}/steps").body["items"]]


def test_undo_once(api: Api, run_id: str, engine: Engine, tenant: Tenant) -> None:
    engine.run_all({"x": 1})
    assert api.get(f"/runs/{run_id}").body["undo"] is None
    assert undos(api, run_id) == [None, None]
    made = api.post(f"/runs/{run_id}/undo")
    assert made.status == 200
    running = {"state": "running", "error": None, "finished_at": None}
    assert (made.body["state"], made.body["undo"]) == ("succeeded", running)
    assert undos(api, run_id) == [running, running]
    again = api.post(f"/runs/{run_id}/undo")
    assert (again.status, again.code) == (409, "state_conflict")
    assert "done once" in again.body["detail"]
    engine.succeed(engine.claim())
    (undo,) = engine.claim()
    engine.fail(undo)
    run = api.get(f"/runs/{run_id}").body
    assert (run["state"], run["undo"]["state"]) == ("succeeded", "failed")
    assert run["undo"]["error"]["code"] == "step_failed"
    assert run["undo"]["error"]["step"] == "a"
    first, second = undos(api, run_id)
    assert (first["state"], first["error"]["message"]) == ("failed", "no")
    assert (second["state"], second["error"]) == ("succeeded", None)
    assert api.post(f"/runs/{run_id}/undo").status == 409
    entries = AuditEntry.objects.filter(tenant=tenant, action="run.undo")
    assert [entry.target for entry in entries] == [run_id]
    events = api.get(f"/runs/{run_id}/events").body["items"]
    assert next(e["actor"] for e in events if e["data"] == {"undo": True}).startswith("key:")


def test_what_cannot_be_undone(api: Api, run_id: str, engine: Engine) -> None:
    refused = api.post(f"/runs/{run_id}/undo")
    assert (refused.status, refused.code, refused.body["state"]) == (
        409,
        "state_conflict",
        "queued",
    )
    assert "not ended" in refused.body["detail"]
    plain = {"steps": [{"name": "a", "handler": "core.echo"}]}
    api.put("/workflows/plain", plain)
    other = api.post("/workflows/plain/runs", {}).body["id"]
    engine.run_all()
    refused = api.post(f"/runs/{other}/undo")
    assert (refused.status, refused.code) == (409, "state_conflict")
    assert "nothing to undo" in refused.body["detail"]


def test_a_failed_run_is_undone_by_itself_and_then_cannot_be_again(
    api: Api, run_id: str, engine: Engine
) -> None:
    engine.succeed(engine.claim())
    (b,) = engine.claim()
    engine.fail(b)
    run = api.get(f"/runs/{run_id}").body
    assert (run["state"], run["undo"]["state"]) == ("running", "running")
    assert run["steps"] | {"total": 0} == dict.fromkeys(run["steps"], 0) | {
        "succeeded": 1,
        "failed": 1,
    }
    cancel = api.post(f"/runs/{run_id}/cancel")
    assert (cancel.status, cancel.code) == (409, "state_conflict")
    engine.succeed(engine.claim())
    assert api.get(f"/runs/{run_id}").body["state"] == "failed"
    assert api.post(f"/runs/{run_id}/undo").status == 409


def test_a_step_that_is_compensated_says_so(api: Api, engine: Engine) -> None:
    step = {"name": "a", "handler": "core.echo", "compensate": UNDO}
    api.put("/workflows/w", {"steps": [step]})
    run_id = api.post("/workflows/w/runs", {}).body["id"]
    engine.fail(engine.claim()[0])
    (row,) = api.get(f"/runs/{run_id}/steps").body["items"]
    assert (row["state"], row["waiting"]["reason"]) == ("waiting", "compensate")
    assert row["waiting"]["detail"].endswith(".")
    assert row["waiting"]["until"] is None
    assert api.get(f"/runs/{run_id}").body["steps"]["waiting"] == 1
