from __future__ import annotations

import pytest

from orchestrator.domain.eventtypes import unknown_type
from orchestrator.domain.statuses import RunState, StepState


@pytest.mark.parametrize(
    "text",
    [
        *(f"run.{state}" for state in RunState),
        *(f"step.{state}" for state in StepState),
        "step.retrying",
        "step.lost",
        "signal.received",
        "alert.firing",
        "run.*",
        "alert.*",
    ],
)
def test_types_and_families_are_known(text: str) -> None:
    assert unknown_type(text) is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "'' is no type of event: they begin with run., step., signal. or alert."),
        ("run", "'run' is no type of event: they begin with run., step., signal. or alert."),
        ("jobs.*", "'jobs.*' is no type of event: they begin with run., step., signal. or alert."),
        ("signal.sent", "'signal.sent' is no type of event: after signal. stands * or received"),
        ("alert.A b", "'alert.A b' is no type of event"),
    ],
)
def test_what_is_none_is_told(text: str, said: str) -> None:
    assert unknown_type(text) == said


def test_words_of_a_family_are_listed() -> None:
    assert (unknown_type("run.ended") or "").endswith(
        "after run. stands * or cancelled, failed, paused, queued, running or succeeded"
    )
