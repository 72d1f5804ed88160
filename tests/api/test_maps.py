"""Maps as the API shows them: one row for the step, its batches page by page."""

from __future__ import annotations

import json
from typing import Any

import pytest

from orchestrator.store.work import Completion
from tests.api.client import Api
from tests.engine import Engine

STEP = {
    "name": "m",
    "handler": "core.echo",
    "map": {"over": "${{ range(7) }}", "batch_size": 2, "max_in_flight": 2, "on_error": "continue"},
}
NO = '{"code":"error","message":"no","type":"ValueError"}'


@pytest.fixture
def run_id(api: Api, engine: Engine) -> str:
    assert (
        api.put("/workflows/w", {"steps": [STEP, {"name": "z", "handler": "core.echo"}]}).status
        == 201
    )
    return str(api.post("/workflows/w/runs", {}).body["id"])


def rows(api: Api, run_id: str, **query: object) -> list[dict[str, Any]]:
    """The step runs."""
    text = "&".join(f"{name}={value}" for name, value in query.items())
    items: list[dict[str, Any]] = api.get(f"/runs/{run_id}/steps?{text}").body["items"]
    return items


def test_a_map_from_its_beginning_to_its_end(api: Api, run_id: str, engine: Engine) -> None:
    step, other = rows(api, run_id)
    assert (step["state"], step["map"]) == (
        "ready",
        {"total": 0, "done": 0, "failed": 0, "in_flight": 0},
    )
    assert (other["map"], other["errors"]) == (None, None)
    engine.join()
    engine.decide()
    step, _ = rows(api, run_id)
    assert (step["state"], step["waiting"], step["attempt"], step["index"]) == (
        "running",
        None,
        1,
        None,
    )
    assert step["map"] == {"total": 7, "done": 0, "failed": 0, "in_flight": 2}
    assert [b["waiting"]["reason"] for b in rows(api, run_id, step="m")] == ["queue", "queue"]
    counts = api.get(f"/runs/{run_id}").body["steps"]
    assert (counts["total"], counts["running"], counts["waiting"], counts["ready"]) == (2, 1, 0, 1)
    node = api.get(f"/runs/{run_id}/graph").body["nodes"][0]
    assert (node["state"], node["map"]["total"]) == ("running", 7)

    while claims := engine.claim():
        for claim in claims:
            if claim.batch == 2:
                engine.complete(Completion(claim, "failed", 0.1, error=NO))
            else:
                items = json.loads(claim.args or '{"items": 1}').get("items")
                engine.succeed([claim], items)
    step, _ = rows(api, run_id)
    assert (step["state"], step["output"]) == ("succeeded", [0, 1, None, None, 4, 5, 6])
    assert step["errors"] == [
        {"item_index": 2, "code": "error", "message": "no"},
        {"item_index": 3, "code": "error", "message": "no"},
    ]
    assert step["map"] == {"total": 7, "done": 7, "failed": 2, "in_flight": 0}
    assert api.get(f"/runs/{run_id}").body["state"] == "succeeded"


def test_batches_come_page_by_page(api: Api, run_id: str, engine: Engine, stranger: Api) -> None:
    engine.join()
    engine.decide()
    assert rows(api, run_id, step="m", limit=1)[0]["index"] == 0
    engine.run_all([1, 2])
    path, seen = f"/runs/{run_id}/steps?step=m&limit=3", []
    while True:
        page = api.get(path).body
        seen += [batch["index"] for batch in page["items"]]
        if page["next_cursor"] is None:
            break
        path = f"/runs/{run_id}/steps?step=m&limit=3&cursor={page['next_cursor']}"
    assert seen == [0, 1, 2, 3]
    assert api.get(f"/runs/{run_id}/steps?step=m&cursor=nope").code == "invalid_cursor"
    assert stranger.get(f"/runs/{run_id}/steps?step=m").status == 404
    assert [row["name"] for row in rows(api, run_id)] == ["m", "z"]


def test_attempts_and_events_name_the_batch(
    api: Api, run_id: str, engine: Engine, stranger: Api
) -> None:
    engine.join()
    engine.decide()
    engine.run_all([1, 2])
    path = f"/runs/{run_id}/steps/m/attempts"
    (own,) = api.get(path).body["items"]
    assert (own["attempt"], own["state"], own["worker"]) == (1, "succeeded", None)
    assert own["duration_s"] > 0
    (batch,) = api.get(f"{path}?index=3").body["items"]
    assert (batch["state"], batch["worker"] is not None) == ("succeeded", True)
    assert api.get(f"{path}?index=4").body["items"] == []
    for bad in ("-1", "x", "1.0"):
        assert api.get(f"{path}?index={bad}").findings == {("/index", "out_of_range")}
    assert stranger.get(f"{path}?index=0").status == 404
    events = api.get(f"/runs/{run_id}/events?limit=100").body["items"]
    told = [(event["type"], event["index"]) for event in events if event["step"] == "m"]
    assert told[:4] == [
        ("step.ready", None),
        ("step.running", None),
        ("step.ready", 0),
        ("step.ready", 1),
    ]
    assert told[-1] == ("step.succeeded", None)


def results(api: Api, run_id: str, limit: int) -> list[list[dict[str, Any]]]:
    """All pages of the map's results."""
    path, pages = f"/runs/{run_id}/steps/m/results?limit={limit}", []
    while True:
        page = api.get(path).body
        pages.append(page["items"])
        if page["next_cursor"] is None:
            return pages
        path = f"/runs/{run_id}/steps/m/results?limit={limit}&cursor={page['next_cursor']}"


def test_results_come_page_by_page(api: Api, run_id: str, engine: Engine, stranger: Api) -> None:
    path = f"/runs/{run_id}/steps/m/results"
    first = api.get(path).body
    assert first["items"] == []
    assert first["next_cursor"] is not None, "there is more to come"
    engine.join()
    engine.decide()
    begun = {claim.batch: claim for claim in engine.claim()}
    engine.complete(Completion(begun[2], "failed", 0.1, error=NO))
    assert api.get(f"{path}?cursor={first['next_cursor']}").body == first
    engine.succeed([begun[1]], [0, 2**64])
    page = api.get(f"{path}?cursor={first['next_cursor']}").body
    assert page["items"] == [
        {"item_index": 0, "index": 0, "output": 0},
        {"item_index": 1, "index": 0, "output": 2**64},
        {"item_index": 2, "index": 1, "output": None},
        {"item_index": 3, "index": 1, "output": None},
    ]
    while claims := engine.claim():
        for claim in claims:
            engine.succeed([claim], json.loads(claim.args or '{"items": 1}').get("items"))
    rest = api.get(f"{path}?cursor={page['next_cursor']}").body
    assert ([one["output"] for one in rest["items"]], rest["next_cursor"]) == ([4, 5, 6], None)
    for limit in (1, 2, 3, 7, 100):
        pages = results(api, run_id, limit)
        assert max(map(len, pages)) <= limit
        found = [one for page in pages for one in page]
        assert [one["item_index"] for one in found] == list(range(7))
        assert [one["output"] for one in found] == [0, 2**64, None, None, 4, 5, 6]
    assert stranger.get(path).status == 404
    assert api.get(f"/runs/{run_id}/steps/z/results").code == "step_not_found"
    for bad in ("nope", "cmVzdWx0c3wxfC0x", "cmVzdWx0c3wx"):
        assert api.get(f"{path}?cursor={bad}").code == "invalid_cursor"


def test_a_page_of_large_results_is_short(api: Api, engine: Engine) -> None:
    step = {
        "name": "m",
        "handler": "core.echo",
        "map": {"over": "${{ range(6) }}", "ordered": False},
    }
    assert api.put("/workflows/w", {"steps": [step]}).status == 201
    run_id = api.post("/workflows/w/runs", {}).body["id"]
    engine.join()
    engine.decide()
    engine.succeed(engine.claim(), ["x" * 400_000])
    pages = results(api, run_id, 1000)
    assert [len(page) for page in pages] == [3, 3]
    assert {one["item_index"] for page in pages for one in page} == {None}
