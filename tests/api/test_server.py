"""Handlers, workers and quota; and the reasons that need hand-made rows."""

from __future__ import annotations

import pytest
from django.utils import timezone

from orchestrator.models import Handler, StepRun
from orchestrator.selectors.runs import access_run
from orchestrator.selectors.steps import steps_view
from orchestrator.store.work import Completion
from tenants.models import Tenant
from tests.api.client import Api
from tests.engine import Engine


def test_handlers(api: Api, echo: str, engine: Engine) -> None:
    items = {item["name"]: item for item in api.get("/handlers").body["items"]}
    assert list(items) == sorted(items)
    assert items["demo.square"]["parameters"] == ["x"]
    assert items["demo.charge"]["timeout"] == "30s"
    assert items["core.echo"]["workers"] == 0
    Handler.objects.filter(name="core.echo").update(seen_at=timezone.now(), timeout_ms=1500)
    engine.join()
    first = api.get("/handlers?limit=1").body
    second = api.get(f"/handlers?limit=1&cursor={first['next_cursor']}").body
    assert [first["items"][0]["name"], second["items"][0]["name"]] == list(items)[:2]
    (seen,) = [i for i in api.get("/handlers").body["items"] if i["name"] == "core.echo"]
    assert (seen["workers"], seen["timeout"]) == (1, "1500ms")


def test_workers(api: Api, engine: Engine) -> None:
    assert api.get("/workers").body["items"] == []
    worker = engine.join("io")
    (item,) = api.get("/workers").body["items"]
    assert (item["name"], item["queues"], item["state"]) == (worker.name, ["io"], "active")
    others = {engine.join("io").name, engine.join("io").name}
    page = api.get("/workers?limit=1").body
    seen = [page["items"][0]["name"]]
    while page["next_cursor"] is not None:
        page = api.get(f"/workers?limit=1&cursor={page['next_cursor']}").body
        seen.append(page["items"][0]["name"])
    assert seen == sorted({worker.name, *others})


@pytest.mark.parametrize("path", ["/handlers", "/workers", "/breakers", "/sla-proposals"])
def test_every_list_takes_limit_and_cursor(api: Api, path: str) -> None:
    assert api.get(f"{path}?limit=1000").body["items"] is not None
    for query, code in (("limit=0", "out_of_range"), ("cursor=x", "invalid_cursor")):
        assert {one[1] for one in api.get(f"{path}?{query}").findings} == {code}
    assert api.get(f"{path}?limt=1").findings == {("/limt", "unknown_key")}


def test_waiting_reason_snooze_and_stuck_code(
    api: Api, echo: str, engine: Engine, tenant: Tenant
) -> None:
    run_id = api.post("/workflows/echo/runs").body["id"]
    (claim,) = engine.claim()
    engine.complete(Completion(claim, "waiting", 0.1, reason="snooze", delay_s=60, counts=False))
    (step,) = steps_view(tenant=tenant, run_id=run_id)
    waiting = step["waiting"]
    assert isinstance(waiting, dict)
    assert (step["attempt"], waiting["reason"]) == (0, "snooze")
    assert 59 < (waiting["until"] - waiting["since"]).total_seconds() < 61
    StepRun.objects.filter(run_id=access_run(tenant=tenant, run_id=run_id).pk).update(
        due_at=None, wait_reason="retry"
    )
    (step,) = steps_view(tenant=tenant, run_id=run_id)
    assert isinstance(step["waiting"], dict)
    assert step["waiting"]["until"] is None
    assert "has not ended yet" in step["waiting"]["detail"]
