"""The run page shows what a run waits for, lets operators send signals, and links children."""

from __future__ import annotations

from typing import Any

import pytest
from django.utils.html import escape

from orchestrator.models import Run
from tenants.models import AuditEntry
from tests.dashboard.conftest import House
from tests.store.waiting import Waiting

SCHEMA = {"type": "object", "required": ["ok"]}
ASK: dict[str, Any] = {"name": "ask", "signal": "go", "payload_schema": SCHEMA, "timeout": "1h"}
ECHO = {"name": "say", "handler": "core.echo", "args": {}}


@pytest.fixture
def engine(house: House) -> Waiting:
    return Waiting(house.tenant)


def page(house: House, run: Run, role: str, query: str = "") -> str:
    """The run's page."""
    return house.client(role).get(f"/t/mill/runs/{run.pk}/{query}").content.decode()


def test_an_operator_sees_what_is_waited_for_and_sends_it(house: House, engine: Waiting) -> None:
    engine.publish("w", ASK, {**ASK, "name": "too"}, {"name": "nap", "sleep": "1h"})
    run = engine.submit("w")
    assert 'form="signal-form"' not in page(house, run, "operator")
    engine.turn()
    client = house.client("admin")
    at = f"/t/mill/runs/{run.pk}/"
    shown = client.get(at).content.decode()
    assert shown.count('form="signal-form" formaction') == 1
    assert 'Waits for the signal <span class="mono">go</span>' in shown
    assert "For a signal" in shown
    assert "Asleep" in shown
    assert 'form="signal-form"' not in page(house, run, "viewer")
    for sent, told in (
        ("{", "is not JSON"),
        ("1", "was not sent"),
        ('{"ok": 1}', "The signal go was sent"),
    ):
        answer = client.post(f"{at}signals/go", {"payload-go": sent}, follow=True)
        text = answer.content.decode()
        assert told in text
        kept = f">{escape(sent)}</textarea>" in text
        assert kept == (told != "The signal go was sent")
    assert client.post(f"{at}signals/other").status_code == 404
    engine.turn()
    assert engine.step(run, "ask").output == '{"ok":1}'
    assert [entry.actor for entry in AuditEntry.objects.filter(action="run.signal")] == [
        "user:admin"
    ]
    Run.objects.filter(pk=run.pk).update(state="cancelled", finished_at=run.created_at)
    answer = client.post(f"{at}signals/go", {"payload-go": '{"ok": 1}'}, follow=True)
    assert "does not allow signal" in answer.content.decode()


@pytest.mark.parametrize(("role", "status"), [("viewer", 403), (None, 404)])
def test_others_send_none(house: House, engine: Waiting, role: str | None, status: int) -> None:
    engine.publish("w", {"name": "ask", "signal": "go"})
    run = engine.submit("w")
    assert house.client(role).post(f"/t/mill/runs/{run.pk}/signals/go").status_code == status


def test_parent_and_child_link_each_other(house: House, engine: Waiting) -> None:
    engine.publish("inner", ECHO)
    engine.publish("outer", {"name": "sub", "workflow": "inner"})
    run = engine.submit("outer")
    engine.turn()
    child = Run.objects.get(parent_id=run.pk)
    parents = page(house, run, "viewer")
    assert f"/t/mill/runs/{child.pk}/" in parents
    assert "For its child run" in parents
    children = page(house, child, "operator")
    assert f"/t/mill/runs/{run.pk}/?step=sub#step-sub" in children


def test_a_held_run_says_why(house: House, engine: Waiting) -> None:
    engine.publish("w", ECHO, concurrency={"key": 1})
    later = engine.submit("w", start_at="1h")
    engine.submit("w")
    queued = engine.submit("w")
    assert "Waits for its time to start" in page(house, later, "viewer")
    assert "Waits for a place among the runs of its key" in page(house, queued, "operator")


def test_repetitions_are_shown(house: House, engine: Waiting) -> None:
    engine.publish(
        "w",
        {
            "name": "ask",
            "signal": "go",
            "repeat": {"until": "${{ output }}", "max": 9, "delay": 60},
        },
    )
    run = engine.submit("w")
    engine.turn()
    engine.signal(run, "go", False)
    engine.turn()
    shown = page(house, run, "viewer")
    assert "Repeated 1 time<" in shown
    assert "Before its next time" in shown
