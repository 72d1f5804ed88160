"""A pause and what waits for something from outside."""

from __future__ import annotations

from orchestrator.selectors.steps import steps_view
from orchestrator.services import pauses
from tenants.actors import SYSTEM
from tenants.models import Tenant
from tenants.services import resume, suspend
from tests.store import test_children
from tests.store.waiting import Waiting

tenant, engine = test_children.tenant, test_children.engine


def test_what_came_for_a_paused_step_waits_for_the_resume_and_says_so(
    engine: Waiting, tenant: Tenant
) -> None:
    engine.publish("w", {"name": "ask", "signal": "go"})
    run = engine.submit("w")
    assert engine.turn() == []
    pauses.pause_run(tenant=tenant, run_id=run.pk, actor=SYSTEM)
    engine.signal(run, "go", 7)
    assert engine.turn() == []

    def waiting() -> dict[str, object]:
        (row,) = steps_view(tenant=tenant, run_id=run.pk)
        assert isinstance(row["waiting"], dict)
        return row["waiting"]

    run.refresh_from_db()
    assert (waiting()["reason"], waiting()["since"]) == ("paused", run.paused_at)
    pauses.resume_run(tenant=tenant, run_id=run.pk, actor=SYSTEM)
    assert waiting()["reason"] == "queue"
    suspend(tenant=tenant, reason="why", actor=SYSTEM)
    assert "suspended" in str(waiting()["detail"])
    assert (waiting()["reason"], waiting()["since"]) == (
        "paused", engine.step(run, "ask").started_at,
    )  # fmt: skip
    tenant.refresh_from_db()
    resume(tenant=tenant, actor=SYSTEM)
    engine.run_all()
    run.refresh_from_db()
    assert (run.state, run.output) == ("succeeded", "7")
