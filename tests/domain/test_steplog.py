"""Lines that handlers log: what is kept of them, and what is cut."""

from __future__ import annotations

import json
import logging
import threading
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.masking import Mask
from orchestrator.domain.steplog import EXCEPTION, Limits, Line, Lines, formatted, level_word, trace
from orchestrator.handlers import StepContext

ALL = Limits(level=0)


def context(lines: Lines, **more: Any) -> StepContext:
    """A step whose lines go there."""
    facts: dict[str, Any] = {"index": None, "attempt": 2, "labels": {}, **more}
    return StepContext(tenant="t", run_id=uuid4(), step="charge", **facts, _lines=lines)


def fields(line: Line) -> Any:
    """A line's fields."""
    return None if line.fields is None else json.loads(line.fields)


def test_it_logs_as_pythons_logging_does() -> None:
    lines = Lines(ALL)
    log = context(lines).log
    log.info(
        "charged %s of %d",
        "inv-1",
        5,
        extra={"amount": 2**70, "at": datetime(2026, 1, 2, tzinfo=UTC)},
    )
    log.debug("%(a)s", {"a": 1})
    log.warning("100 % sure")
    log.log(35, "between")
    first, *others = lines.take()
    assert (first.number, first.level, first.message) == (1, logging.INFO, "charged inv-1 of 5")
    assert fields(first) == {"amount": 2**70, "at": "2026-01-02 00:00:00+00:00"}
    assert [line.message for line in others] == ["1", "100 % sure", "between"]
    assert [level_word(line.level) for line in others] == ["debug", "warning", "warning"]
    assert lines.take() == []
    assert not lines


def test_an_exception_is_kept_with_the_end_of_its_traceback() -> None:
    lines = Lines(ALL)
    log = context(lines, item_index=3).log
    try:
        raise ValueError("x" * 10_000 + "the end")
    except ValueError as error:
        log.exception("it failed", extra={"k": 1})
        log.error("it failed", exc_info=error)
    log.error("no exception", exc_info=True)  # noqa: LOG014
    first, second, third = lines.take()
    assert [one.message for one in (first, second, third)] == [
        "it failed",
        "it failed",
        "no exception",
    ]
    assert fields(first)[EXCEPTION].strip().endswith("the end")
    assert (fields(first)["k"], fields(first)["item_index"]) == (1, 3)
    assert fields(second)[EXCEPTION].strip().endswith("the end")
    assert fields(third) == {"item_index": 3}
    assert trace((None, None, None)) == ""


def test_it_stands_in_the_processs_log_too(caplog: pytest.LogCaptureFixture) -> None:
    step = context(Lines(Limits(level=logging.ERROR)), index=4)
    with caplog.at_level(logging.INFO, "step"):
        step.log.info("told %s", 1, extra={"message": "taken", "k": 2})  # noqa: G101
        step.log.debug("not told")
    (record,) = caplog.records
    assert record.getMessage() == "told 1"
    known = vars(record)
    assert (known["message_"], known["k"], known["run"]) == ("taken", 2, str(step.run_id))
    assert (known["tenant"], known["step"], known["attempt"], known["index"]) == (
        "t",
        "charge",
        2,
        4,
    )
    assert not step.log.isEnabledFor(logging.DEBUG)
    assert step.log.isEnabledFor(logging.ERROR)
    assert not step._lines


def test_only_so_many_lines_are_kept_and_one_says_so() -> None:
    lines = Lines(Limits(level=0, lines=3))
    told: list[Lines] = []
    lines = Lines(Limits(level=0, lines=3), notify=told.append)
    for number in range(10):
        lines.add(logging.INFO, f"line {number}", {})
    kept = lines.take()
    assert [line.message for line in kept[:3]] == ["line 0", "line 1", "line 2"]
    assert (
        kept[3].message == "The log of this attempt ends here: 3 lines are the most that are kept."
    )
    assert kept[3].level == logging.WARNING
    assert len(kept) == 4
    assert told == [lines]
    assert not lines.takes(logging.CRITICAL)


def test_a_value_that_logs_while_it_is_written_down_ends_the_log_once() -> None:
    lines = Lines(Limits(level=0, lines=1))

    class Telling:
        def __str__(self) -> str:
            lines.add(logging.INFO, "inside", {})
            return "value"

    lines.add(logging.INFO, "first", {})
    lines.add(logging.INFO, "second", {"value": Telling()})
    assert [line.message[:17] for line in lines.take()] == ["first", "The log of this a"]


def test_only_so_many_bytes_are_kept() -> None:
    lines = Lines(Limits(level=0, bytes=100))
    lines.add(logging.INFO, "é" * 40, {})
    lines.add(logging.INFO, "é" * 40, {})
    lines.add(logging.INFO, "short", {})
    assert [line.message[:15] for line in lines.take()] == ["é" * 15, "The log of this"]


def test_a_long_line_is_cut_and_its_fields_are_left_out() -> None:
    lines = Lines(Limits(level=0, line_bytes=100))
    lines.add(logging.INFO, "ü" * 200, {"a": "b" * 500, "c": [1] * 500, "d": ["e" * 40], "f": 1})
    lines.add(logging.INFO, "plain", {"k" * 300: 1})
    first, second = lines.take()
    assert len(first.message.encode()) <= 100
    assert first.message.endswith("ü …")
    assert fields(first)["a"].startswith("bbb")
    assert fields(first)["cut"] is True
    assert len((first.fields or "").encode()) <= 120
    assert fields(second) == {"cut": True}


def test_a_secret_is_hidden_before_anything_is_cut() -> None:
    lines = Lines(Limits(level=0, line_bytes=60), Mask(["s3cret-value"]))
    lines.add(
        logging.INFO, "x" * 50 + "s3cret-value", {"s3cret-value": "s3cret-value", "n": "y" * 20}
    )
    lines.add(logging.INFO, "m", {"long": "z" * 22 + "s3cret-value"})
    lines.add(logging.INFO, "m", {EXCEPTION: "s3cret-value" + "z" * 22})
    text = "".join(f"{line.message}{line.fields}" for line in lines.take())
    assert "***" in text
    assert "s3c" not in text
    assert "alue" not in text


class Odd:
    """Has no text."""

    def __str__(self) -> str:
        raise RuntimeError("no")


def test_nothing_that_is_logged_raises() -> None:
    lines = Lines(ALL)
    log = context(lines).log
    nested: list[Any] = []
    nested.append(nested)
    log.info("%s %s", "one")  # noqa: PLE1206
    log.info(
        Odd(),
        extra={
            "odd": Odd(),
            "nan": float("nan"),
            "nul": "a\0b",
            "half": "\ud800",
            "nested": nested,
        },
    )
    log.info("%s", Odd())
    first, second, third = lines.take()
    assert first.message == "%s %s one"
    assert (
        second.message
        == third.message.removeprefix("%s ")
        == "<Odd that has no text: RuntimeError>"
    )
    assert fields(second)["nan"] == "nan"
    assert fields(second)["nul"] == "a\ufffdb"
    assert fields(second)["half"] == "?"
    assert formatted("%d", ("x",)) == "%d x"


def test_a_closed_log_keeps_what_it_has() -> None:
    lines = Lines(ALL)
    lines.add(logging.INFO, "before", {})
    lines.close()
    lines.add(logging.INFO, "after", {})
    lines.pass_on(Line(9, 0.0, 20, "after", None))
    assert [line.message for line in lines.take()] == ["before"]


def test_lines_of_another_process_are_passed_on() -> None:
    lines = Lines(Limits(level=50))
    lines.pass_on(Line(7, 1.5, 20, "told", '{"a":1}'))
    assert lines.take() == [Line(7, 1.5, 20, "told", '{"a":1}')]


def add_many(lines: Lines) -> None:
    """As a busy thread does."""
    for _ in range(300):
        lines.add(20, "m", {})


def test_many_threads_log_at_once() -> None:
    lines = Lines(Limits(level=0, lines=1_000))
    threads = [threading.Thread(target=add_many, args=(lines,)) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    kept = lines.take()
    assert len(kept) == 1_001
    assert len({line.number for line in kept}) == 1_001
    assert sum(line.level == logging.WARNING for line in kept) == 1


@given(
    st.text(max_size=300),
    st.dictionaries(st.text(max_size=20), st.text(max_size=100) | st.floats()),
)
def test_whatever_is_logged_can_be_kept(message: str, extra: dict[str, object]) -> None:
    lines = Lines(Limits(level=0, line_bytes=200))
    lines.add(20, message, extra)
    (line,) = lines.take()
    assert len(line.message.encode()) <= 200
    assert "\0" not in line.message
    assert line.fields is None or isinstance(json.loads(line.fields), dict)
