"""What pages make of what they read: examples of inputs, groups of workers, lights, graphs' notes."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from django.http import QueryDict

from dashboard.pages.overview import lights, worker_groups
from dashboard.pages.query import runs_query, window
from dashboard.pages.run import SHOWN_JSON, node, shown
from dashboard.pages.timeline import MOST, timeline
from dashboard.pages.workflows import example
from orchestrator.selectors.health import Check, State
from orchestrator.selectors.payloads import Payload
from orchestrator.selectors.workers import WorkerRow

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        (None, {}),
        ({}, {}),
        ({"type": "array"}, []),
        ({"type": ["integer", "string"]}, 0),
        ({"default": 3, "type": "integer"}, 3),
        ({"examples": ["a", "b"]}, "a"),
        ({"enum": ["eu", "us"]}, "eu"),
        (
            {
                "type": "object",
                "required": ["n", "absent"],
                "properties": {"n": {"type": "integer"}, "more": {"type": "string"}},
            },
            {"n": 0},
        ),
        (
            {"properties": {"s": {"type": "string"}, "b": {"type": "boolean"}}},
            {"s": "", "b": False},
        ),
    ],
)
def test_run_now_begins_with_an_example(schema: object, value: object) -> None:
    assert example(schema) == value


def worker(name: str, state: str = "active", queues: tuple[str, ...] = ("io",)) -> WorkerRow:
    return WorkerRow(1, name, "host", 1, state, queues, frozenset(), 2, 0, NOW, NOW)


def test_workers_of_a_host_are_one_line_for_each_set_of_queues() -> None:
    rows = [worker("a"), worker("b", "draining"), worker("c", queues=("io", "cpu"))]
    groups = {group.queues: group for group in worker_groups(rows)}
    assert groups["io"].active == groups["io"].draining == 1
    assert groups["io"].in_flight == 4
    assert groups["cpu, io"].active == 1


def test_a_light_is_colour_icon_and_word() -> None:
    (light,) = lights([Check("channel_layer", State.DOWN, "No answer.", "Start it.")])
    assert (light.name, light.state, light.kind, light.icon) == (
        "Channel layer",
        "down",
        "failed",
        "cross",
    )


def test_a_long_payload_is_cut() -> None:
    text = json.dumps("x" * SHOWN_JSON)
    assert shown(Payload(text)) == (text[:SHOWN_JSON], True)
    assert shown(None) == (None, False)


def step(**more: object) -> dict[str, object]:
    row: dict[str, object] = {
        "name": "s",
        "state": "ready",
        "attempt": 0,
        "max_attempts": 1,
        "waiting": None,
        "ready_at": NOW,
        "started_at": None,
        "finished_at": None,
    }
    return {**row, **more}


@pytest.mark.parametrize(
    ("more", "note"),
    [
        ({}, "ready"),
        ({"waiting": {"reason": "queue"}}, "ready"),
        ({"waiting": {"reason": "no_worker"}}, "ready · no worker"),
        (
            {"state": "running", "started_at": NOW, "attempt": 2, "max_attempts": 3},
            "running · 2 of 3",
        ),
        (
            {"state": "failed", "started_at": NOW, "finished_at": NOW + timedelta(seconds=2)},
            "failed · 2.00 s",
        ),
    ],
)
def test_a_node_says_what_its_step_does(more: dict[str, object], note: str) -> None:
    assert node(step(**more)).note == note


def test_a_timeline_shows_queueing_and_running_and_leaves_out_what_is_too_much() -> None:
    begun = NOW + timedelta(seconds=1)
    rows = [step(started_at=begun, state="running"), *(step() for _ in range(MOST - 1))]
    drawn = timeline(rows, since=NOW, until=NOW + timedelta(seconds=4), total=MOST + 1)
    assert len(drawn.bars) == MOST
    assert drawn.hidden == 1
    assert drawn.bars[0].queue_width * 3 == pytest.approx(drawn.bars[0].width, abs=0.1)
    assert drawn.bars[1].width == 0
    assert [tick.text for tick in drawn.ticks] == ["0", "1 s", "2 s", "3 s", "4 s"]


def test_an_addresss_nonsense_counts_as_not_said() -> None:
    assert window({"from": "1", "to": "99999999999999999"}).name == "1h"
    assert window({"from": "5", "to": "4"}).name == "1h"
    asked = runs_query(QueryDict("state=odd&label=k&q=%00x&period=24h").dict())
    assert (asked.state, asked.text) == ("", "x")
    assert asked.filters().labels == {}
    assert asked.filters().created_after is not None
    assert asked.is_filtered


def test_a_label_that_is_none_counts_as_not_said() -> None:
    """Else the page says "50 runs that match" of runs that match nothing."""
    said = runs_query({"label": "acme", "state": "failed"})
    assert (said.label, said.kept) == ("", "state=failed")
    assert runs_query({"label": "at:12:30"}).filters().labels == {"at": "12:30"}


def test_what_was_typed_into_filters_does_not_come_back_without_the_page_it_was_typed_for() -> None:
    """A browser that goes back puts it into the fields of a page that is filtered otherwise."""
    for file in Path("templates/dashboard").glob("*.html"):
        for form in re.findall(r"<form[^>]*>", file.read_text()):
            if 'method="get"' in form:
                assert 'autocomplete="off"' in form, file.name
