"""Repair by hand on the pages: by role, saying what will happen."""

from __future__ import annotations

import re
from uuid import UUID

import pytest

from dashboard.pages import run as run_page
from orchestrator import store
from orchestrator.models import Action, DeadLetter, Run, StepRun, Workflow
from orchestrator.services import pauses
from orchestrator.services.actions import act
from tenants.actors import COMMAND
from tenants.models import AuditEntry
from tests.dashboard.conftest import House

RUN_PATHS = ("pause", "resume", "retry", "steps/fetch/retry", "steps/fetch/skip")


def fail(house: House, message: str = "no") -> UUID:
    """A run whose first step failed."""
    run_id = house.run()
    for claim in house.engine.claim():
        house.engine.fail(claim, message=message)
    return run_id


@pytest.mark.parametrize(
    ("role", "status"), [("operator", 302), ("admin", 302), ("viewer", 403), (None, 404)]
)
def test_operators_pause_and_resume_runs(house: House, role: str | None, status: int) -> None:
    run_id = house.run()
    client = house.client(role)
    assert client.post(f"/t/mill/runs/{run_id}/pause").status_code == status
    run = Run.objects.get(pk=run_id)
    assert run.state == ("paused" if status == 302 else "queued")
    if status == 302:
        text = client.get(f"/t/mill/runs/{run_id}/").content.decode()
        assert "Nothing new of it starts" in text
        assert "Resume" in text
        again = client.post(f"/t/mill/runs/{run_id}/pause", follow=True).content.decode()
        assert "does not allow pause" in again
        assert client.post(f"/t/mill/runs/{run_id}/resume").status_code == 302
        run.refresh_from_db()
        assert run.state == "queued"
        entry = AuditEntry.objects.get(action="run.resume")
        assert entry.actor == f"user:{role}"


@pytest.mark.parametrize("path", RUN_PATHS)
def test_what_is_done_by_hand_is_not_for_viewers_and_strangers(house: House, path: str) -> None:
    run_id = fail(house)
    assert house.client("viewer").post(f"/t/mill/runs/{run_id}/{path}").status_code == 403
    assert house.client(None).post(f"/t/mill/runs/{run_id}/{path}").status_code == 404
    operator = house.client("operator")
    assert operator.post(f"/t/mill/runs/none/{path}").status_code == 404
    assert operator.get(f"/t/mill/runs/{run_id}/{path}").status_code == 405
    assert Run.objects.get(pk=run_id).state == "failed"


def test_a_failed_run_is_retried_from_its_page(house: House) -> None:
    run_id = fail(house)
    viewer, operator = house.client("viewer"), house.client("operator")
    page = f"/t/mill/runs/{run_id}/"
    assert "Retry" not in viewer.get(page + "?step=fetch").content.decode()
    text = operator.get(page).content.decode()
    assert "1 step that failed or was cancelled runs again" in text
    assert operator.post(page + "retry").status_code == 302
    assert Run.objects.get(pk=run_id).state == "running"
    house.engine.run_all(1)
    text = operator.get(page + "?step=check").content.decode()
    assert "Retry the run from here" in text
    assert "Retry the run from check?" in text
    operator.post(page + "retry", {"from_step": "check"})
    states = list(StepRun.objects.order_by("ordinal").values_list("state", flat=True))
    assert states == ["succeeded", "ready", "blocked"]
    house.engine.run_all(1)
    wrong = operator.post(page + "retry", {"from_step": "chek"}, follow=True).content.decode()
    assert "did you mean check" in wrong


def test_steps_are_repaired_from_the_run_page(house: House) -> None:
    run_id = fail(house)
    operator = house.client("operator")
    page = f"/t/mill/runs/{run_id}/"
    text = operator.get(page + "?step=fetch").content.decode()
    assert "Retry this step" in text
    assert "Complete fetch by hand?" in text
    assert "Skip fetch?" in text
    text = operator.get(page + "?step=check").content.decode()
    assert "Complete…" not in text
    assert operator.get(page + "?step=a/b").status_code == 200
    wrong = operator.post(page + "steps/fetch/complete", {"output": "{"}, follow=True)
    dialog = wrong.content.decode().split('<dialog id="complete-dialog" data-shown')[1]
    assert "The output is not JSON" in dialog
    assert ">{</textarea>" in dialog, "what was typed is still there"
    operator.post(page + "steps/fetch/complete", {"output": '{"n": 1}'})
    assert StepRun.objects.get(ordinal=0).output == '{"n":1}'
    operator.post(page + "steps/check/skip")
    assert StepRun.objects.get(ordinal=1).reason == "manual"
    assert "Skipped: by hand" in operator.get(page).content.decode()
    assert operator.post(page + "steps/none/skip").status_code == 404
    refused = operator.post(page + "steps/fetch/retry", follow=True).content.decode()
    assert "does not allow retry" in refused


def test_a_step_that_waits_for_its_retry_gets_it_now(house: House) -> None:
    run_id = house.run()
    (claim,) = house.engine.claim()
    house.engine.fail(claim, retry_in_s=600)
    operator = house.client("operator")
    page = f"/t/mill/runs/{run_id}/"
    assert "Try again now" in operator.get(page + "?step=fetch").content.decode()
    operator.post(page + "steps/fetch/retry")
    store.connection().execute("SELECT engine_due(10)")
    assert StepRun.objects.get(ordinal=0).state == "ready"


@pytest.mark.parametrize(("role", "status"), [("operator", 302), ("viewer", 403), (None, 404)])
def test_operators_pause_workflows(house: House, role: str | None, status: int) -> None:
    client = house.client(role)
    page = "/t/mill/workflows/import/"
    assert client.post(page + "pause").status_code == status
    paused = Workflow.objects.get().paused_at is not None
    assert paused == (status == 302)
    if paused:
        assert "new runs are taken, and wait" in client.get(page).content.decode()
        assert "paused" in client.get("/t/mill/workflows/").content.decode()
        assert client.post(page + "resume").status_code == 302
        assert Workflow.objects.get().paused_at is None
        refused = client.post(page + "resume", follow=True).content.decode()
        assert "The workflow is not paused" in refused
    elif role == "viewer":
        assert "Pause" not in client.get(page).content.decode()


def test_dead_letters_in_groups_and_one_by_one(house: House) -> None:
    viewer = house.client("viewer")
    assert "Nothing was given up" in viewer.get("/t/mill/dead-letters/").content.decode()
    runs = [fail(house, f"order {n} was refused") for n in range(3)]
    fail(house, "the disk is full")
    text = viewer.get("/t/mill/dead-letters/").content.decode()
    assert "order 2 was refused" in text
    assert "the disk is full" in text
    assert "Retry all" not in text
    fingerprint = DeadLetter.objects.get(run_id=runs[0]).fingerprint
    text = viewer.get(f"/t/mill/dead-letters/?fingerprint={fingerprint}").content.decode()
    assert "3 steps in 3 runs" in text
    assert all(str(run_id) in text for run_id in runs)
    for query in ("?fingerprint=none", "?workflow=none", "?cursor=x", "?fingerprint=x&cursor=x"):
        assert viewer.get(f"/t/mill/dead-letters/{query}").status_code == 200
    assert "all of import" in (
        house.client("operator").get("/t/mill/dead-letters/?workflow=import").content.decode()
    )
    assert house.client(None).get("/t/mill/dead-letters/").status_code == 404


def test_a_group_of_dead_letters_is_retried(house: House) -> None:
    runs = [fail(house, f"order {n} was refused") for n in range(3)]
    other = fail(house, "the disk is full")
    fingerprint = DeadLetter.objects.get(run_id=runs[0]).fingerprint
    operator = house.client("operator")
    text = operator.get(f"/t/mill/dead-letters/?fingerprint={fingerprint}").content.decode()
    assert "Retry these 3" in text
    assert "Retry 3 steps?" in text
    path = "/t/mill/dead-letters/retry"
    assert house.client("viewer").post(path).status_code == 403
    wrong = operator.post(path, {"rate": "fast"}, follow=True).content.decode()
    assert "a rate is text" in wrong
    operator.post(path, {"fingerprint": fingerprint, "rate": "100/1s", "workflow": ""})
    for _ in range(5):
        Action.objects.update(due_at="2020-01-01T00:00:00Z")
        act(store.connection())
    assert {str(run.pk) for run in Run.objects.filter(state="running")} == set(map(str, runs))
    assert Run.objects.get(pk=other).state == "failed"
    assert "Passed over" in operator.get("/t/mill/dead-letters/").content.decode()
    operator.post(path, {"rate": "1/1s"})
    assert Action.objects.filter(total=1).count() == 1


def test_a_page_of_a_paused_run_names_the_reason(house: House) -> None:
    run_id = house.run()
    pauses.pause_workflow(tenant=house.tenant, name="import", actor=COMMAND)
    text = house.client("viewer").get(f"/t/mill/runs/{run_id}/").content.decode()
    assert "The workflow is paused" in text


def test_of_many_attempts_the_page_shows_the_newest(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_page, "ATTEMPTS", 3)
    run_id = house.run()
    client = house.client("viewer")

    def shown() -> tuple[list[str], bool]:
        text = client.get(f"/t/mill/runs/{run_id}/?step=fetch").content.decode()
        return re.findall(r'<span class="muted">#(\d+)</span>', text), "Newest attempts" in text

    seen = [shown()]
    for _ in range(5):
        house.engine.fail(house.engine.claim()[0], retry_in_s=0)
        store.connection().execute("SELECT engine_due(10)")
        seen.append(shown())
    assert seen[0] == ([], False)
    assert seen[3] == (["1", "2", "3"], False)
    assert seen[4] == (["2", "3", "4"], True)
    assert seen[5] == (["3", "4", "5"], True)
