"""Pause, resume, retry, complete, skip, dead letters and actions over HTTP."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import pytest

from orchestrator import store
from orchestrator.models import Action, ActionItem, DeadLetter
from orchestrator.services.actions import act
from tenants.models import AuditEntry
from tests.api.client import Answer, Api
from tests.engine import Engine

STEPS = [
    {"name": "a", "handler": "core.echo", "args": {}},
    {"name": "b", "handler": "core.echo", "args": {}, "depends_on": ["a"]},
]
RUN_ACTIONS = ("pause", "resume", "retry", "steps/a/retry", "steps/a/complete", "steps/a/skip")


@pytest.fixture
def pair(api: Api) -> str:
    assert api.put("/workflows/pair", {"steps": STEPS}).status == 201
    return "pair"


def submit(api: Api, workflow: str = "pair") -> str:
    answer = api.post(f"/workflows/{workflow}/runs", {})
    assert answer.status == 202
    return str(answer.body["id"])


def fail(api: Api, engine: Engine, message: str = "no") -> str:
    """A run whose first step failed."""
    run_id = submit(api)
    for claim in engine.claim():
        engine.fail(claim, message=message)
    return run_id


def done(answer: Answer, state: str) -> dict[str, Any]:
    assert answer.status == 200, answer.text
    assert answer.body["state"] == state
    return dict(answer.body)


def test_pause_and_resume_a_run(api: Api, pair: str, engine: Engine) -> None:
    run_id = submit(api)
    engine.join()
    run = done(api.post(f"/runs/{run_id}/pause"), "paused")
    assert run["paused_at"] is not None
    assert api.get("/runs?state=paused").body["items"][0]["id"] == run_id
    (a, b) = api.get(f"/runs/{run_id}/steps").body["items"]
    assert (a["waiting"]["reason"], b["waiting"]) == ("paused", None)
    assert a["waiting"]["since"] == run["paused_at"]
    again = api.post(f"/runs/{run_id}/pause")
    assert (again.status, again.code) == (409, "state_conflict")
    assert done(api.post(f"/runs/{run_id}/resume"), "queued")["paused_at"] is None
    assert api.post(f"/runs/{run_id}/resume").status == 409
    engine.run_all(1)
    assert api.post(f"/runs/{run_id}/pause").status == 409
    told = [event for event in api.get(f"/runs/{run_id}/events").body["items"] if not event["step"]]
    assert [event["type"] for event in told][:3] == ["run.queued", "run.paused", "run.queued"]
    assert told[1]["actor"].startswith("key:")


def test_pause_and_resume_a_workflow(api: Api, pair: str, engine: Engine) -> None:
    answer = api.post("/workflows/pair/pause")
    assert (answer.status, answer.body["name"]) == (200, "pair")
    assert answer.body["paused_at"] is not None
    assert api.post("/workflows/pair/pause").code == "state_conflict"
    run_id = submit(api)
    engine.join()
    assert engine.claim() == []
    (a, _) = api.get(f"/runs/{run_id}/steps").body["items"]
    assert a["waiting"]["reason"] == "paused"
    assert api.get(f"/runs/{run_id}").body["state"] == "queued"
    assert api.post("/workflows/pair/resume").body["paused_at"] is None
    assert api.post("/workflows/pair/resume").status == 409
    assert len(engine.claim()) == 1
    assert api.post("/workflows/nope/pause").status == 404
    actions = set(AuditEntry.objects.values_list("action", flat=True))
    assert {"workflow.pause", "workflow.resume"} <= actions


def test_retry_a_run(api: Api, pair: str, engine: Engine) -> None:
    run_id = fail(api, engine)
    run = done(api.post(f"/runs/{run_id}/retry"), "running")
    assert (run["error"], run["finished_at"], run["steps"]["ready"]) == (None, None, 1)
    assert api.post(f"/runs/{run_id}/retry", {}).code == "state_conflict"
    engine.run_all(1)
    assert api.post(f"/runs/{run_id}/retry").status == 409
    assert api.post(f"/runs/{run_id}/retry", {"from_step": "c"}).findings == {
        ("/from_step", "unknown_step")
    }
    run = done(api.post(f"/runs/{run_id}/retry", {"from_step": "b"}), "running")
    assert (run["steps"]["succeeded"], run["steps"]["ready"]) == (1, 1)


def test_repair_steps(api: Api, pair: str, engine: Engine) -> None:
    run_id = fail(api, engine)
    done(api.post(f"/runs/{run_id}/steps/a/retry"), "running")
    run = done(api.post(f"/runs/{run_id}/steps/a/complete", {"output": {"n": 2**64}}), "running")
    assert run["steps"]["succeeded"] == 1
    done(api.post(f"/runs/{run_id}/steps/b/skip"), "succeeded")
    a, b = api.get(f"/runs/{run_id}/steps").body["items"]
    assert a["output"] == {"n": 2**64}
    assert (b["state"], b["reason"]) == ("skipped", "manual")
    assert api.post(f"/runs/{run_id}/steps/b/skip").status == 409
    assert api.post(f"/runs/{run_id}/steps/c/skip").code == "step_not_found"
    bad = api.post(f"/runs/{run_id}/steps/a/complete", raw=b"{")
    assert (bad.status, bad.code) == (400, "malformed_json")
    assert api.post(f"/runs/{run_id}/steps/a/complete", {"out": 1}).status == 422


@pytest.mark.parametrize("action", RUN_ACTIONS)
def test_a_stranger_and_an_absent_run_are_404(
    api: Api, stranger: Api, pair: str, engine: Engine, action: str
) -> None:
    run_id = fail(api, engine)
    for client, found in ((stranger, run_id), (api, str(uuid4())), (api, "x")):
        answer = client.post(f"/runs/{found}/{action}", raw=b"{nonsense")
        assert (answer.status, answer.code) == (404, "run_not_found")
    assert api.get(f"/runs/{run_id}").body["state"] == "failed"
    assert stranger.post("/workflows/pair/pause").status == 404
    assert stranger.post("/workflows/pair/resume").status == 404


def test_dead_letters_are_listed_and_grouped(
    api: Api, stranger: Api, pair: str, engine: Engine
) -> None:
    runs = [fail(api, engine, f"order {n} of {uuid4()} was refused") for n in range(5)]
    other = fail(api, engine, "the disk is full")
    page = api.get("/dead-letters?limit=4").body
    assert [item["run_id"] for item in page["items"]] == [other, *reversed(runs[2:])]
    letter = page["items"][1]
    assert (letter["workflow"], letter["step"], letter["attempts"]) == ("pair", "a", 1)
    assert letter["error"]["code"] == "error"
    assert letter["error"]["type"] == "ValueError"
    rest = api.get(f"/dead-letters?cursor={page['next_cursor']}").body
    assert [item["run_id"] for item in rest["items"]] == [runs[1], runs[0]]
    assert rest["next_cursor"] is None

    groups = api.get("/dead-letters?group=true&limit=1").body
    assert [group["count"] for group in groups["items"]] == [1]
    groups = api.get(f"/dead-letters?group=true&cursor={groups['next_cursor']}").body
    (group,) = groups["items"]
    assert (group["count"], group["runs"], group["workflows"], group["steps"]) == (
        5, 5, ["pair"], ["a"],
    )  # fmt: skip
    assert group["newest"]["run_id"] == runs[-1]
    assert group["first_at"] < group["last_at"]
    for asked, count in (
        (f"fingerprint={group['fingerprint']}", 5),
        ("workflow=pair", 6),
        ("step=b", 0),
        ("step=a&code=error", 6),
        ("code=lost", 0),
    ):
        assert len(api.get(f"/dead-letters?{asked}").body["items"]) == count, asked
    assert api.get("/dead-letters?workflow=nope").code == "workflow_not_found"
    for bad in ("limit=0", "cursor=x", "group=maybe", "kind=1", "group=true&cursor=x"):
        assert api.get(f"/dead-letters?{bad}").status == 422, bad
    for cursor in ("ZGVhZF9sZXR0ZXJzfHh8eQ", "ZGVhZF9sZXR0ZXJzfC0xfC0x"):
        assert api.get(f"/dead-letters?cursor={cursor}").code == "invalid_cursor"
    assert stranger.get("/dead-letters").body["items"] == []
    assert stranger.get("/dead-letters?group=true").body["items"] == []
    assert stranger.get("/dead-letters?workflow=pair").status == 404


def work_off(engine: Engine) -> None:
    """What the clock does, with time gone by."""
    for _ in range(20):
        Action.objects.filter(finished_at=None).update(due_at="2020-01-01T00:00:00Z")
        act(store.connection())


def test_dead_letters_are_retried(api: Api, stranger: Api, pair: str, engine: Engine) -> None:
    runs = [fail(api, engine, f"order {n} was refused") for n in range(4)]
    other = fail(api, engine, "the disk is full")
    (first, *_) = api.get("/dead-letters").body["items"]
    assert first["run_id"] == other
    made = api.post("/dead-letters/retry", {"ids": [first["id"]], "rate": 1000})
    assert (made.status, made.body["state"], made.body["total"]) == (202, "running", 1)
    path = made.headers["Location"].removeprefix("/api/v1")
    assert stranger.get(path).code == "action_not_found"
    assert api.get("/actions/x").status == 404
    assert api.get(f"/actions/{uuid4()}").status == 404
    # frozen: the second asks for all five, of which one is repaired before its turn
    every = api.post("/dead-letters/retry", {"all": True, "rate": "100/1s"}).body
    assert (every["total"], every["filter"]) == (5, {"all": True, "rate": "100/1s"})
    work_off(engine)
    action = api.get(path).body
    assert (action["state"], action["done"], action["passed_over"]) == ("finished", 1, 0)
    action = api.get(f"/actions/{every['id']}").body
    assert (action["state"], action["done"], action["passed_over"]) == ("finished", 4, 1)
    assert action["finished_at"] is not None
    assert action["actor"].startswith("key:")
    assert sorted(map(str, ActionItem.objects.values_list("outcome", flat=True))) == [
        "gone", "retried", "retried", "retried", "retried", "retried",
    ]  # fmt: skip
    assert not DeadLetter.objects.exists()
    engine.run_all(1)
    for run_id in (*runs, other):
        assert api.get(f"/runs/{run_id}").body["state"] == "succeeded"
    assert api.post("/dead-letters/retry", {"all": True}).body["state"] == "finished"
    assert AuditEntry.objects.filter(action="dead_letters.retry").count() == 3


def test_a_retry_is_throttled_and_narrowed(api: Api, pair: str, engine: Engine) -> None:
    for n in range(6):
        fail(api, engine, f"order {n} was refused")
    fail(api, engine, "the disk is full")
    group = api.get("/dead-letters?group=true").body["items"][1]
    asked = {
        "fingerprint": group["fingerprint"], "workflow": "pair", "step": "a", "code": "error",
        "rate": "1/1m",
    }  # fmt: skip
    made = api.post("/dead-letters/retry", asked).body
    assert (made["total"], made["rate_per_s"]) == (6, pytest.approx(1 / 60))
    for _ in range(3):
        act(store.connection())
    action = api.get(f"/actions/{made['id']}").body
    assert (action["done"], action["state"]) == (1, "running"), "the next is due in a minute"
    # a step that runs again is passed over, one that was completed by hand is gone
    letters = api.get("/dead-letters").body["items"]
    assert len(letters) == 6
    api.post(f"/runs/{letters[-1]['run_id']}/steps/a/complete")
    work_off(engine)
    action = api.get(f"/actions/{made['id']}").body
    assert (action["done"], action["passed_over"]) == (5, 1)
    assert len(api.get("/dead-letters").body["items"]) == 1


@pytest.mark.parametrize(
    ("body", "finding"),
    [
        ([], ("", "wrong_type")),
        ({}, ("", "missing")),
        ({"rate": 1}, ("", "missing")),
        ({"all": 1}, ("/all", "wrong_type")),
        ({"all": True, "kind": 1}, ("/kind", "unknown_key")),
        ({"ids": []}, ("/ids", "wrong_type")),
        ({"ids": ["1"]}, ("/ids/0", "wrong_type")),
        ({"ids": [1, 2**64]}, ("/ids/1", "wrong_type")),
        ({"ids": list(range(1, 1002))}, ("/ids", "wrong_type")),
        ({"code": 1}, ("/code", "wrong_type")),
        ({"workflow": "nope"}, ("/workflow", "unknown_workflow")),
        ({"all": True, "rate": "fast"}, ("/rate", "bad_rate")),
        ({"all": True, "rate": "1/0s"}, ("/rate", "bad_rate")),
        ({"all": True, "rate": 0}, ("/rate", "bad_rate")),
    ],
)
def test_a_retry_that_cannot_be_read(api: Api, body: object, finding: tuple[str, str]) -> None:
    answer = api.post("/dead-letters/retry", raw=json.dumps(body).encode())
    assert answer.status == 422, answer.text
    assert answer.findings == {finding}
    assert not Action.objects.exists()
