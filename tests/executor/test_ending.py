"""What becomes of an attempt, whatever its handler has made of its arguments, answers and exceptions."""

from __future__ import annotations

import json
from typing import Any

import pytest

from orchestrator.executor import helper
from orchestrator.executor.ending import conclude
from orchestrator.handlers import Abort, Retry, Skip, StepContext
from orchestrator.store.work import Completion
from tests.executor.flying import flight

RETRY = {"max_attempts": 5, "delay": 0}


class Mute(Exception):
    """An exception without a text."""

    def __str__(self) -> str:
        return str(self.args[1])


async def handler(ctx: StepContext) -> None:
    """Is not called."""


def ended(result: object, **step: Any) -> Completion:
    """What this result of an attempt comes to."""
    return conclude(flight(handler, **step), result, max_bytes=1_000)


@pytest.mark.parametrize("kind", [Mute, type("MuteAbort", (Mute, Abort), {})])
def test_an_exception_without_a_text_is_described_all_the_same(kind: type[Exception]) -> None:
    done = ended(kind("only one"))
    assert done.outcome == "failed"
    error = json.loads(done.error or "")
    assert error["message"] == f"<{kind.__name__} that has no text: IndexError>"
    assert helper._describe(kind("only one"))["text"] == error["message"]


def test_an_exception_without_a_text_is_retried_as_any_other() -> None:
    assert ended(Mute("only one"), retry=RETRY).outcome == "waiting"


@pytest.mark.parametrize(("reason", "kept"), [(404, "404"), (None, "None"), ("so", "so")])
def test_a_skip_s_reason_is_text(reason: Any, kept: str) -> None:
    done = ended(Skip(reason))
    assert (done.outcome, done.reason) == ("skipped", kept)
    assert helper._describe(Skip(reason)) == {"word": "skip", "text": kept}


def test_a_retry_s_message_is_text() -> None:
    message: Any = Mute("only one")
    assert "no text" in json.loads(ended(Retry(message)).error or "")["message"]
    assert "no text" in str(helper._describe(Retry(message))["text"])


class Shy(dict[str, int]):
    """A value that cannot be read."""

    def items(self) -> Any:
        """Raises RuntimeError."""
        raise RuntimeError("nobody looks into me")

    keys = values = __iter__ = items


@pytest.mark.parametrize("batch", [0, 1])
def test_what_cannot_be_concluded_fails_without_retry(batch: int) -> None:
    fallback = {"on_error": {"value": 7}} if batch else {}
    one = flight(handler, retry=RETRY, **fallback)
    one.claimed = one.claimed._replace(batch=batch)
    done = conclude(one, Shy(a=1), max_bytes=1_000)
    assert (done.outcome, done.handled) == ("failed", False)
    error = json.loads(done.error or "")
    assert error["code"] == "invalid_output"
    assert "nobody looks into me" in error["message"]


def test_what_cannot_be_concluded_is_handled_by_on_error() -> None:
    done = ended(Shy(a=1), on_error={"value": 7})
    assert (done.outcome, done.output, done.handled) == ("succeeded", "7", True)
    assert helper._describe(Shy(a=1))["word"] == "bad_value"
