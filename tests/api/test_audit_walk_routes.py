"""Every way to change something leaves an entry in the audit log: routes of the API.  Whatever is new and stands
in none of the tables fails the test."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from orchestrator.api.root import api as root
from tests.api.audit_world import (
    HOOK,
    HOUR,
    QUIET,
    SLA,
    SOON,
    STEPS,
    WEEKLY,
    Act,
    World,
    acts,
    walked,
)
from tests.api.hooks import send

__all__ = ["walked"]


pytestmark = pytest.mark.thorough


def _bulk(world: World) -> object:
    return world.api.bulk({"workflow": "w"}, {"workflow": "w"})


API: dict[str, tuple[Act, Callable[[World, Any], object]]] = {
    # what comes before, and the call that must leave an entry
    "PUT /workflows/{name}": (lambda w: None, lambda w, _: w.api.put("/workflows/n", {"steps": STEPS})),
    "DELETE /workflows/{name}": (lambda w: None, lambda w, _: w.api.delete("/workflows/w")),
    "POST /workflows/{name}/pause": (lambda w: None, lambda w, _: w.api.post("/workflows/w/pause")),
    "POST /workflows/{name}/resume": (
        lambda w: w.api.post("/workflows/w/pause"),
        lambda w, _: w.api.post("/workflows/w/resume"),
    ),
    "POST /workflows/{name}/runs": (lambda w: None, lambda w, _: w.api.post("/workflows/w/runs")),
    "POST /runs/bulk": (lambda w: None, lambda w, _: _bulk(w)),
    "POST /runs/{run_id}/cancel": (World.run, lambda w, r: w.api.post(f"/runs/{r}/cancel")),
    "POST /runs/{run_id}/pause": (World.run, lambda w, r: w.api.post(f"/runs/{r}/pause")),
    "POST /runs/{run_id}/resume": (World.paused, lambda w, r: w.api.post(f"/runs/{r}/resume")),
    "POST /runs/{run_id}/retry": (World.failed, lambda w, r: w.api.post(f"/runs/{r}/retry")),
    "POST /runs/{run_id}/undo": (World.succeeded, lambda w, r: w.api.post(f"/runs/{r}/undo")),
    "POST /runs/{run_id}/signals/{name}": (
        lambda w: w.run("waits"),
        lambda w, r: w.api.post(f"/runs/{r}/signals/go", {"payload": 1}),
    ),
    "POST /runs/{run_id}/steps/{step}/retry": (
        World.failed,
        lambda w, r: w.api.post(f"/runs/{r}/steps/a/retry"),
    ),
    "POST /runs/{run_id}/steps/{step}/complete": (
        World.failed,
        lambda w, r: w.api.post(f"/runs/{r}/steps/a/complete", {"output": 1}),
    ),
    "POST /runs/{run_id}/steps/{step}/skip": (
        World.failed,
        lambda w, r: w.api.post(f"/runs/{r}/steps/a/skip"),
    ),
    "POST /dead-letters/retry": (
        World.failed,
        lambda w, r: w.api.post("/dead-letters/retry", {"workflow": "w"}),
    ),
    "POST /slas": (lambda w: None, lambda w, _: w.made("slas")),
    "PUT /slas/{name}": (lambda w: w.made("slas"), lambda w, _: w.api.put("/slas/x", SLA)),
    "DELETE /slas/{name}": (lambda w: w.made("slas"), lambda w, _: w.api.delete("/slas/x")),
    "POST /sla-proposals/{workflow}/accept": (
        World.proposed,
        lambda w, _: w.api.post("/sla-proposals/w/accept"),
    ),
    "POST /sla-proposals/{workflow}/dismiss": (
        World.proposed,
        lambda w, _: w.api.post("/sla-proposals/w/dismiss"),
    ),
    "POST /schedules": (lambda w: None, lambda w, _: w.made("schedules")),
    "PUT /schedules/{name}": (lambda w: None, lambda w, _: w.api.put("/schedules/x", SOON)),
    "DELETE /schedules/{name}": (
        lambda w: w.made("schedules"),
        lambda w, _: w.api.delete("/schedules/x"),
    ),
    "POST /schedules/{name}/pause": (
        lambda w: w.made("schedules"),
        lambda w, _: w.api.post("/schedules/x/pause"),
    ),
    "POST /schedules/{name}/resume": (
        lambda w: (w.made("schedules"), w.api.post("/schedules/x/pause")),
        lambda w, _: w.api.post("/schedules/x/resume"),
    ),
    "POST /schedules/{name}/backfill": (
        lambda w: w.made("schedules"),
        lambda w, _: w.api.post("/schedules/x/backfill", HOUR),
    ),
    "POST /triggers": (lambda w: None, lambda w, _: w.made("triggers")),
    "PUT /triggers/{name}": (lambda w: None, lambda w, _: w.api.put("/triggers/x", {"workflow": "w"})),
    "DELETE /triggers/{name}": (
        lambda w: w.made("triggers"),
        lambda w, _: w.api.delete("/triggers/x"),
    ),
    "POST /triggers/{name}/rotate": (
        lambda w: w.made("triggers"),
        lambda w, _: w.api.post("/triggers/x/rotate"),
    ),
    "POST /pools": (lambda w: None, lambda w, _: w.made("pools")),
    "PUT /pools/{name}": (lambda w: w.made("pools"), lambda w, _: w.api.put("/pools/x", {"limit": 2})),
    "DELETE /pools/{name}": (lambda w: w.made("pools"), lambda w, _: w.api.delete("/pools/x")),
    "POST /secrets": (lambda w: None, lambda w, _: w.made("secrets")),
    "PUT /secrets/{name}": (
        lambda w: w.made("secrets"),
        lambda w, _: w.api.put("/secrets/x", {"value": "another-one"}),
    ),
    "DELETE /secrets/{name}": (lambda w: w.made("secrets"), lambda w, _: w.api.delete("/secrets/x")),
    "POST /api-keys": (lambda w: None, lambda w, _: w.api.post("/api-keys", {"name": "x"})),
    "POST /api-keys/{key_id}/rotate": (
        World.key,
        lambda w, key: w.api.post(f"/api-keys/{key}/rotate"),
    ),
    "DELETE /api-keys/{key_id}": (World.key, lambda w, key: w.api.delete(f"/api-keys/{key}")),
    "DELETE /database": (World.elsewhere, lambda w, _: w.api.delete("/database")),
    "POST /alerts/{alert_id}/acknowledge": (
        World.alert,
        lambda w, one: w.api.post(f"/alerts/{one}/acknowledge"),
    ),
    "POST /alerts/{alert_id}/resolve": (World.alert, lambda w, one: w.api.post(f"/alerts/{one}/resolve")),
    "POST /channels": (lambda w: None, lambda w, _: w.made("channels")),
    "PUT /channels/{name}": (lambda w: None, lambda w, _: w.api.put("/channels/x", HOOK)),
    "DELETE /channels/{name}": (lambda w: w.made("channels"), lambda w, _: w.api.delete("/channels/x")),
    "POST /channels/{name}/test": (
        lambda w: w.made("channels"),
        lambda w, _: w.api.post("/channels/x/test"),
    ),
    "POST /channels/{name}/rotate": (
        lambda w: w.made("channels"),
        lambda w, _: w.api.post("/channels/x/rotate"),
    ),
    "POST /silences": (lambda w: None, lambda w, _: w.api.post("/silences", QUIET)),
    "PUT /silences/{silence_id}": (World.silence, lambda w, one: w.api.put(f"/silences/{one}", QUIET)),
    "DELETE /silences/{silence_id}": (World.silence, lambda w, one: w.api.delete(f"/silences/{one}")),
    "POST /maintenance-windows": (lambda w: None, lambda w, _: w.made("maintenance-windows")),
    "PUT /maintenance-windows/{name}": (
        lambda w: None,
        lambda w, _: w.api.put("/maintenance-windows/x", WEEKLY),
    ),
    "DELETE /maintenance-windows/{name}": (
        lambda w: w.made("maintenance-windows"),
        lambda w, _: w.api.delete("/maintenance-windows/x"),
    ),
    # not under /api/v1, but from outside all the same
    "POST /hooks/{tenant}/{trigger}": (
        lambda w: w.made("triggers", {"input": {}}),
        lambda w, made: send(f"/hooks/{w.tenant.slug}/x", {}, secret=made["secret"]),
    ),
}  # fmt: skip


ROUTES_ELSEWHERE = {
    "PUT /database": "tests/connections/test_external.py",
    "POST /slas/preview": "it makes nothing",
}


@pytest.mark.parametrize("route", API)
def test_every_change_over_http_leaves_an_entry(walked: World, route: str) -> None:
    entries = acts(walked, API[route])
    assert entries, f"{route} left no entry"
    for entry in entries:
        assert entry.tenant == walked.tenant
        assert entry.actor.startswith(("key:mr_", "trigger:x"))
        assert entry.origin == "127.0.0.1"


def test_no_route_is_missing() -> None:
    routes = {
        f"{method} {path.removeprefix('/api/v1')}"
        for path, methods in root.get_openapi_schema()["paths"].items()
        for method in {"POST", "PUT", "PATCH", "DELETE"} & {name.upper() for name in methods}
    }
    assert routes | {"POST /hooks/{tenant}/{trigger}"} == API.keys() | ROUTES_ELSEWHERE.keys()
