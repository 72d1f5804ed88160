"""Which alerts go where, what mutes them, and when windows are open."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain import routing
from orchestrator.domain.routing import INHIBITIONS, Window

SEEN = routing.facts(
    rule="sla:17", name="Orders are quick", severity="warning", labels={"workflow": "orders"}
)


@pytest.mark.parametrize(
    ("matchers", "holds"),
    [
        ({}, True),
        ({"rule": "sla:*"}, True),
        ({"rule": "sla:1?"}, True),
        ({"rule": "SLA:17"}, False),
        ({"workflow": "orders", "severity": "critical"}, False),
        ({"workflow": "or*", "severity": "warning"}, True),
        ({"queue": "io"}, False),
        ({"queue": ""}, True),
    ],
)
def test_every_matcher_must_hold(matchers: dict[str, str], holds: bool) -> None:
    assert routing.matches(matchers, SEEN) is holds


def test_a_channel_takes_its_severity_and_above() -> None:
    critical = {**SEEN, "severity": "critical"}
    assert routing.wanted("warning", {}, SEEN)
    assert not routing.wanted("critical", {}, SEEN)
    assert routing.wanted("critical", {}, critical)
    assert not routing.wanted("warning", {"workflow": "other"}, critical)


def test_a_label_cannot_pass_for_the_rule() -> None:
    seen = routing.facts(rule="canary", name="n", severity="warning", labels={"rule": "sla:1"})
    assert seen["rule"] == "canary"


@given(st.lists(st.sampled_from(["rule", "workflow", "queue"]), unique=True))
def test_groups_are_told_apart_by_the_values_of_their_keys(keys: list[str]) -> None:
    other = {**SEEN, "workflow": "refunds"}
    same = routing.group_key(keys, SEEN) == routing.group_key(keys, other)
    assert same is ("workflow" not in keys)


def test_a_red_database_mutes_everything_but_itself() -> None:
    sources = ["health:database", "health:clock"]
    assert routing.inhibited_by("sla:3", sources) == "health:database"
    assert routing.inhibited_by("health:clock", sources) == "health:database"
    assert routing.inhibited_by("health:database", sources) is None
    assert routing.inhibited_by("sla:3", ["health:disk"]) is None
    assert routing.inhibited_by("health:canary", ["health:workers"]) == "health:workers"


def test_inhibition_has_no_circles() -> None:
    """Of any rules that fire together, at least one is told."""
    sources = {one.source for one in INHIBITIONS} | {"sla:1", "health:canary"}
    assert any(routing.inhibited_by(rule, sources) is None for rule in sources)
    for rule in sources:
        muted_by = routing.inhibited_by(rule, sources)
        seen = {rule}
        while muted_by is not None:
            assert muted_by not in seen
            seen.add(muted_by)
            muted_by = routing.inhibited_by(muted_by, sources)


BERLIN = Window("30 2 * * *", "Europe/Berlin", timedelta(hours=1), None, None)


@pytest.mark.parametrize(
    ("at", "until"),
    [
        ("2026-11-21T01:29:59+00:00", None),
        ("2026-11-21T01:30:00+00:00", "2026-11-21T02:30:00+00:00"),
        ("2026-11-21T02:29:59+00:00", "2026-11-21T02:30:00+00:00"),
        ("2026-11-21T02:30:00+00:00", None),
        ("2026-07-01T00:45:00+00:00", "2026-07-01T01:30:00+00:00"),  # summer time
    ],
)
def test_a_window_recurs_by_the_clocks_of_its_zone(at: str, until: str | None) -> None:
    expected = None if until is None else datetime.fromisoformat(until)
    assert BERLIN.open_until(datetime.fromisoformat(at)) == expected


def test_a_window_may_be_open_once() -> None:
    begin = datetime(2026, 11, 21, tzinfo=UTC)
    end = begin + timedelta(hours=2)
    window = Window(None, "UTC", None, begin, end)
    assert window.open_until(begin) == end
    assert window.open_until(end - timedelta(microseconds=1)) == end
    assert window.open_until(end) is None
    assert window.open_until(begin - timedelta(seconds=1)) is None
