"""What the API shows of heartbeats, cached outputs and what is kept of them."""

from __future__ import annotations

from orchestrator import store
from orchestrator.models import StepRun
from orchestrator.store import heartbeats, work
from orchestrator.store.heartbeats import Beat
from orchestrator.store.work import Verdict
from tenants.actors import SYSTEM
from tenants.models import Tenant
from tenants.services import set_quota
from tests.api.client import Api
from tests.engine import Engine


def test_steps_show_their_progress(api: Api, stranger: Api, echo: str, engine: Engine) -> None:
    run = api.post("/workflows/echo/runs", {"input": {"text": "x"}}).body["id"]
    (row,) = api.get(f"/runs/{run}/steps").body["items"]
    assert (row["progress"], row["heartbeat_at"]) == (None, None)
    (claim,) = engine.claim()
    assert engine.worker is not None
    heartbeats.write(
        store.connection(), engine.worker.pk, [Beat(claim, '{"n":18446744073709551616}')]
    )
    (row,) = api.get(f"/runs/{run}/steps").body["items"]
    assert row["progress"] == {"n": 2**64}
    assert row["heartbeat_at"].endswith("Z")
    assert stranger.get(f"/runs/{run}/steps").status == 404


def test_steps_show_what_was_cached_and_who_waits(api: Api, tenant: Tenant, engine: Engine) -> None:
    step = {"name": "a", "handler": "core.echo", "cache": {"key": 1, "ttl": "1m"}}
    assert api.put("/workflows/w", {"steps": [step]}).status == 201
    first, second = (api.post("/workflows/w/runs").body["id"] for _ in range(2))
    asked = engine.claim(0)
    assert engine.worker is not None
    verdicts = [Verdict(one, "cache", '{"key":"k","ttl_ms":60000}') for one in asked]
    work.exchange(store.connection(), engine.worker.pk, [], verdicts, None)
    maker = str(StepRun.objects.get(state="ready").run_id)
    other = second if maker == first else first
    (row,) = api.get(f"/runs/{other}/steps").body["items"]
    assert (row["state"], row["waiting"]["reason"], row["cached"]) == ("waiting", "cache", False)
    engine.succeed(engine.claim(), output=5)
    (row,) = api.get(f"/runs/{other}/steps").body["items"]
    assert (row["state"], row["output"], row["cached"]) == ("succeeded", 5, True)
    assert (row["attempt"], row["reason"]) == (0, None)
    (row,) = api.get(f"/runs/{maker}/steps").body["items"]
    assert (row["cached"], row["attempt"]) == (False, 1)


def test_the_quota_says_whether_outputs_are_kept(api: Api, tenant: Tenant) -> None:
    assert api.get("/quota").body["keep_outputs"] is True
    set_quota(tenant=tenant, actor=SYSTEM, keep_outputs=False)
    assert api.get("/quota").body["keep_outputs"] is False
