"""Undoing on the run's page: the button and what it says, how far an undo is, what failed."""

from __future__ import annotations

from uuid import UUID

import pytest

from orchestrator.models import Run
from orchestrator.services.workflows import publish_workflow
from tenants.actors import COMMAND
from tenants.models import AuditEntry
from tests.dashboard.conftest import House

UNDO = {"handler": "core.echo", "args": {}}
STEPS = [
    {"name": "book", "handler": "core.echo", "undo": UNDO},
    {"name": "pay", "handler": "core.echo", "depends_on": ["book"], "undo": UNDO},
    {"name": "tell", "handler": "core.echo", "depends_on": ["pay"]},
]


@pytest.fixture
def ended(house: House) -> UUID:
    """A run that succeeded and can be undone."""
    publish_workflow(tenant=house.tenant, name="trip", document={"steps": STEPS}, actor=COMMAND)
    run_id = house.run("trip")
    house.engine.run_all(1)
    return run_id


@pytest.mark.parametrize(
    ("role", "status"), [("operator", 302), ("admin", 302), ("viewer", 403), (None, 404)]
)
def test_operators_undo_runs(house: House, ended: UUID, role: str | None, status: int) -> None:
    client = house.client(role)
    assert client.post(f"/t/mill/runs/{ended}/undo").status_code == status
    begun = Run.objects.get(pk=ended).undo_state == "running"
    assert begun == (status == 302)
    entries = AuditEntry.objects.filter(action="run.undo", target=str(ended))
    assert [entry.actor for entry in entries] == ([f"user:{role}"] if begun else [])
    if begun:
        again = client.post(f"/t/mill/runs/{ended}/undo", follow=True)
        assert "done once" in again.content.decode()


def test_the_button_says_what_it_will_do_and_is_not_shown_to_viewers(
    house: House, ended: UUID
) -> None:
    text = house.client("operator").get(f"/t/mill/runs/{ended}/").content.decode()
    assert "Undo run" in text
    assert "The undo of 2 steps is called" in text
    assert "<strong>pay, book</strong>" in text
    assert "The run stays succeeded." in text
    assert "Undo run" not in house.client("viewer").get(f"/t/mill/runs/{ended}/").content.decode()
    plain = house.run()
    house.engine.run_all()
    assert "Undo run" not in house.client("admin").get(f"/t/mill/runs/{plain}/").content.decode()


def test_how_far_an_undo_is(house: House, ended: UUID) -> None:
    client = house.client("operator")
    client.post(f"/t/mill/runs/{ended}/undo")
    text = client.get(f"/t/mill/runs/{ended}/").content.decode()
    assert "0 of 2 undos ended." in text
    assert "after the undos of what came later" in text
    assert "succeeded · undoing" in text
    assert "Undo run" not in text
    (undo,) = house.engine.claim()
    house.engine.fail(undo, retry_in_s=60)
    text = client.get(f"/t/mill/runs/{ended}/").content.decode()
    assert "attempt 1 of 5 · before its next attempt" in text


def test_an_undo_that_waits_is_given_up_from_the_page(house: House, ended: UUID) -> None:
    client, page = house.client("operator"), f"/t/mill/runs/{ended}/"
    client.post(f"{page}undo")
    offered = "Give up its undo"
    assert offered not in client.get(f"{page}?step=book").content.decode(), "not its turn yet"
    (undo,) = house.engine.claim()
    assert offered not in client.get(f"{page}?step=pay").content.decode(), "it runs"
    house.engine.fail(undo, retry_in_s=60)
    text = client.get(f"{page}?step=pay").content.decode()
    assert offered in text
    assert "Give up the undo of pay?" in text
    client.post(f"{page}steps/pay/skip")
    house.engine.succeed(house.engine.claim())
    run = Run.objects.get(pk=ended)
    assert (run.undo_state, offered in client.get(f"{page}?step=pay").content.decode()) == (
        "failed",
        False,
    )


def test_what_was_not_undone(house: House) -> None:
    publish_workflow(tenant=house.tenant, name="trip", document={"steps": STEPS}, actor=COMMAND)
    run_id = house.run("trip")
    engine, client = house.engine, house.client("viewer")
    engine.succeed(engine.claim())
    engine.succeed(engine.claim())
    engine.fail(engine.claim()[0])
    text = client.get(f"/t/mill/runs/{run_id}/").content.decode()
    assert "the run fails when the last one has" in text
    assert (
        "Cancel run" not in house.client("operator").get(f"/t/mill/runs/{run_id}/").content.decode()
    )
    engine.fail(engine.claim()[0])
    engine.succeed(engine.claim())
    text = client.get(f"/t/mill/runs/{run_id}/").content.decode()
    assert "Not undone as a whole" in text
    assert "The undo of step &quot;pay&quot; failed: no" in text
    assert "succeeded · undo failed" in text
    assert "succeeded · undone" in text


def test_a_step_that_is_compensated_says_so_in_words(house: House) -> None:
    step = {"name": "a", "handler": "core.echo", "compensate": UNDO}
    publish_workflow(tenant=house.tenant, name="pays", document={"steps": [step]}, actor=COMMAND)
    run_id = house.run("pays")
    house.engine.fail(house.engine.claim()[0])
    text = house.client("viewer").get(f"/t/mill/runs/{run_id}/").content.decode()
    assert "Its compensation decides what becomes of it" in text
