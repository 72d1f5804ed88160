"""Steps, attempts, graph, events, and why a step waits."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from orchestrator.models import ServerLoad, Worker
from orchestrator.selectors import attempts
from tenants.models import Quota, Tenant
from tests.api.client import Api
from tests.engine import Engine

PAIR = {
    "steps": [
        {
            "name": "first",
            "handler": "core.echo",
            "args": {"x": 1},
            "retry": {"max_attempts": 3, "delay": "5s"},
        },
        {"name": "second", "handler": "core.echo", "args": {"y": "${{ steps.first.output.x }}"}},
    ]
}


@pytest.fixture
def run_id(api: Api) -> str:
    assert api.put("/workflows/pair", PAIR).status == 201
    return str(api.post("/workflows/pair/runs", {}).body["id"])


def steps(api: Api, run_id: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = api.get(f"/runs/{run_id}/steps").body["items"]
    return items


def reason(api: Api, run_id: str) -> str:
    waiting = steps(api, run_id)[0]["waiting"]
    assert waiting["detail"].endswith(".")
    assert waiting["since"] is not None
    return str(waiting["reason"])


def test_steps(api: Api, run_id: str, engine: Engine) -> None:
    first, second = steps(api, run_id)
    assert (first["name"], first["state"], first["attempt"]) == ("first", "ready", 0)
    assert (first["max_attempts"], first["depends_on"], first["index"]) == (3, [], None)
    assert (second["state"], second["depends_on"]) == ("blocked", ["first"])
    assert second["waiting"] is None
    worker = engine.join()
    claims = engine.claim()
    first = steps(api, run_id)[0]
    assert (first["state"], first["attempt"], first["worker"]) == ("running", 1, worker.name)
    assert first["waiting"] is None
    engine.succeed(claims, {"x": 2**70})
    first, second = steps(api, run_id)
    assert (first["state"], first["output"], first["attempt"]) == ("succeeded", {"x": 2**70}, 1)
    assert second["ready_at"] >= first["finished_at"]
    assert first["undo"] is None
    assert first["handled"] is False


def test_steps_page_in_definition_order(api: Api, engine: Engine) -> None:
    names = [f"s{n}" for n in range(5)]
    api.put("/workflows/five", {"steps": [{"name": n, "handler": "core.echo"} for n in names]})
    run_id = api.post("/workflows/five/runs").body["id"]
    path, seen = f"/runs/{run_id}/steps?limit=2", []
    while True:
        page = api.get(path).body
        seen += [step["name"] for step in page["items"]]
        if page["next_cursor"] is None:
            break
        path = f"/runs/{run_id}/steps?limit=2&cursor={page['next_cursor']}"
    assert seen == names
    assert [s["name"] for s in api.get(f"/runs/{run_id}/steps?step=s3").body["items"]] == ["s3"]
    assert api.get(f"/runs/{run_id}/steps?step=nope").body["items"] == []


def test_skipped_and_failed_steps_say_why(api: Api, engine: Engine) -> None:
    document = {
        "steps": [
            {"name": "a", "handler": "core.fail"},
            {"name": "b", "handler": "core.echo", "depends_on": ["a"]},
        ]
    }
    api.put("/workflows/w", document)
    run_id = api.post("/workflows/w/runs").body["id"]
    engine.fail(engine.claim()[0])
    a, b = steps(api, run_id)
    assert (a["state"], a["error"]["type"]) == ("failed", "ValueError")
    assert (b["state"], b["reason"], b["attempt"]) == ("skipped", "upstream_failed", 0)


def test_attempts(api: Api, run_id: str, engine: Engine) -> None:
    path = f"/runs/{run_id}/steps/first/attempts"
    assert api.get(path).body == {"items": [], "next_cursor": None}
    worker = engine.join()
    engine.fail(engine.claim()[0], retry_in_s=0)
    (attempt,) = api.get(path).body["items"]
    assert (attempt["attempt"], attempt["state"], attempt["worker"]) == (1, "failed", worker.name)
    assert attempt["error"]["message"] == "no"
    assert attempt["duration_s"] >= 0
    from orchestrator import store

    store.connection().execute("SELECT engine_due(10)")
    claims = engine.claim()
    assert [a["state"] for a in api.get(path).body["items"]] == ["failed", "running"]
    engine.succeed(claims)
    first = api.get(f"{path}?limit=1").body
    (second,) = api.get(f"{path}?cursor={first['next_cursor']}").body["items"]
    assert first["items"][0]["attempt"] == 1
    assert (second["attempt"], second["state"], second["error"]) == (2, "succeeded", None)
    assert second["started_at"] <= second["finished_at"]
    answer = api.get(f"/runs/{run_id}/steps/nope/attempts")
    assert (answer.status, answer.code) == (404, "step_not_found")


def test_a_page_of_attempts_reads_no_more_than_it_shows(
    api: Api, run_id: str, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    from orchestrator import store

    monkeypatch.setattr(attempts, "AT_ONCE", 4)
    engine.join()
    for _ in range(8):
        engine.fail(engine.claim()[0], retry_in_s=0)
        store.connection().execute("SELECT engine_due(10)")
    path, pages = f"/runs/{run_id}/steps/first/attempts?limit=3", []
    while True:
        with CaptureQueriesContext(connection) as asked:
            page = api.get(path).body
        read = [one["sql"] for one in asked.captured_queries if 'FROM "event"' in one["sql"]]
        assert len(read) <= 3
        pages.append([one["attempt"] for one in page["items"]])
        if page["next_cursor"] is None:
            break
        path = f"/runs/{run_id}/steps/first/attempts?limit=3&cursor={page['next_cursor']}"
    assert pages == [[1, 2, 3], [4, 5, 6], [7, 8]]
    assert api.get(f"/runs/{run_id}/steps/first/attempts?cursor=nope").code == "invalid_cursor"


def test_lost_attempt(api: Api, run_id: str, engine: Engine) -> None:
    from orchestrator import store

    worker = engine.join()
    engine.claim()
    store.connection().execute("SELECT engine_reap(%s)", (worker.pk,))
    (attempt,) = api.get(f"/runs/{run_id}/steps/first/attempts").body["items"]
    assert (attempt["state"], attempt["error"]) == ("lost", None)


def test_graph(api: Api, run_id: str, engine: Engine) -> None:
    engine.claim()
    graph = api.get(f"/runs/{run_id}/graph").body
    assert graph["edges"] == [["first", "second"]]
    assert [(n["name"], n["state"], n["handler"]) for n in graph["nodes"]] == [
        ("first", "running", "core.echo"),
        ("second", "blocked", "core.echo"),
    ]


def test_events(api: Api, run_id: str, engine: Engine) -> None:
    engine.run_all({"x": 1})
    events = api.get(f"/runs/{run_id}/events").body["items"]
    assert [(e["type"], e["step"]) for e in events] == [
        ("run.queued", None),
        ("step.ready", "first"),
        ("run.running", None),
        ("step.running", "first"),
        ("step.succeeded", "first"),
        ("step.ready", "second"),
        ("step.running", "second"),
        ("step.succeeded", "second"),
        ("run.succeeded", None),
    ]
    shape = {"id", "at", "type", "run_id", "step", "index", "attempt", "actor", "data"}
    assert set(events[0]) == shape
    ids = [event["id"] for event in events]
    assert ids == sorted(ids)
    page = api.get(f"/runs/{run_id}/events?limit=4").body
    rest = api.get(f"/runs/{run_id}/events?limit=1000&cursor={page['next_cursor']}").body
    assert [e["id"] for e in page["items"] + rest["items"]] == ids
    assert rest["next_cursor"] is None


def test_waiting_reason_no_worker(api: Api, run_id: str, engine: Engine) -> None:
    assert reason(api, run_id) == "no_worker"
    worker = engine.join("other")
    assert reason(api, run_id) == "no_worker"
    Worker.objects.filter(pk=worker.pk).update(queues=["io"], handler_ids=[])
    assert reason(api, run_id) == "no_worker"


def test_waiting_reason_queue(api: Api, run_id: str, engine: Engine) -> None:
    engine.join()
    assert reason(api, run_id) == "queue"


def test_waiting_reason_connections(api: Api, run_id: str, engine: Engine, tenant: Tenant) -> None:
    engine.join()
    Quota.objects.filter(tenant=tenant).update(max_connections=0)
    assert reason(api, run_id) == "connections"


def test_waiting_reason_total_connections(api: Api, run_id: str, engine: Engine) -> None:
    engine.join()
    ServerLoad.objects.filter(slot=-1).update(max_connections=0)
    assert reason(api, run_id) == "total_connections"


def test_waiting_reason_suspended(api: Api, run_id: str, engine: Engine, tenant: Tenant) -> None:
    from django.utils import timezone

    engine.join()
    Tenant.objects.filter(pk=tenant.pk).update(suspended_at=timezone.now())
    assert reason(api, run_id) == "paused"


def test_waiting_reason_max_parallel(api: Api, engine: Engine) -> None:
    steps_ = [{"name": f"s{n}", "handler": "core.echo"} for n in range(2)]
    api.put("/workflows/narrow", {"max_parallel": 1, "steps": steps_})
    run_id = api.post("/workflows/narrow/runs").body["id"]
    assert len(engine.claim()) == 1
    waiting = [s["waiting"]["reason"] for s in steps(api, run_id) if s["waiting"]]
    assert waiting == ["max_parallel"]


def test_waiting_reason_retry(api: Api, run_id: str, engine: Engine) -> None:
    engine.fail(engine.claim()[0], retry_in_s=5)
    first = steps(api, run_id)[0]
    assert (first["state"], first["attempt"]) == ("waiting", 1)
    waiting = first["waiting"]
    assert waiting["reason"] == "retry"
    assert waiting["since"] < waiting["until"]
    assert "Attempt 2" in waiting["detail"]


def test_waiting_reason_condition(api: Api, engine: Engine) -> None:
    api.put(
        "/workflows/if", {"steps": [{"name": "a", "handler": "core.echo", "if": "${{ True }}"}]}
    )
    run_id = api.post("/workflows/if/runs").body["id"]
    engine.join()
    assert reason(api, run_id) == "queue"
