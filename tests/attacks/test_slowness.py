"""Expressions, schedules and schemas that are made to be slow: each ends soon, with an error that says why."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from orchestrator.domain.expressions import BadExpression, ExpressionFailed, compile_template
from orchestrator.domain.schemas import compile_schema
from tests.api.client import Api

CPU_S = 20.0
"""What no single piece of a user's may cost, by far: without bounds these take minutes or never end.
Alone they take tenths; a tracer and busy neighbours make that seconds."""
ALLOW = frozenset({"input", "secrets"})
SLOW_EXPRESSIONS = (
    "9 ** 9 ** 9", "2 ** 10 ** 9", "10 ** 4000 * 10 ** 4000", "'x' * 10 ** 9", "[0] * 10 ** 9",
    "'x' * 10000 * 10000", "range(10 ** 12)", "sum(range(10 ** 8))", "sorted(range(10 ** 7))",
    "[a for a in range(10 ** 9)]", "[[a for a in range(9999)] for b in range(9999)]",
    "len([1 for a in range(999) for b in range(999) for c in range(999)])",
     "int('9' * 100000)",  "1 << 10 ** 9",
    "any(a == -1 for a in range(10 ** 9))", "max(range(10 ** 9))", "{a: a for a in range(10 ** 9)}",
     "round(1.5, 10 ** 9)", "[input] * 1000000",
    "+".join(["1"] * 100_000), "(" * 5_000 + "1" + ")" * 5_000, "-" * 50_000 + "1",
    " and ".join(["1"] * 50_000), "[" * 500 + "]" * 500, "input" + "['a']" * 20_000,
    "if".join(["1 "] * 9_999), "f'{input}'", "lambda: 1", "().__class__.__bases__",
    "input.__class__", "input['__class__']['__mro__']", "__import__('os')", "open('/etc/passwd')",
    "secrets", "secrets[input.name]", "[secrets][0]",
)  # fmt: skip


LONG_EXPRESSIONS = (
    "str(10 ** 4299) + str(10 ** 4299)",
    "'%s' * 999999",
    "'a' * 4000 in 'a' * 3999 * 4000",
    "sorted(str(10 ** 4299)) == sorted(str(10 ** 4298))",
)


@contextmanager
def soon() -> Iterator[None]:
    """What is inside costs little of this thread's time."""
    before = time.thread_time()
    yield
    assert time.thread_time() - before < CPU_S


@pytest.mark.parametrize("text", SLOW_EXPRESSIONS, ids=lambda text: text[:40])
def test_an_expression_ends_soon(text: str) -> None:
    with soon(), pytest.raises((BadExpression, ExpressionFailed)):
        compile_template(f"${{{{ {text} }}}}", allow=ALLOW).evaluate(
            {"input": {"name": "TOKEN", "a": {}}, "secrets": {"TOKEN": "value"}}
        )


@pytest.mark.parametrize("text", LONG_EXPRESSIONS)
def test_what_is_within_the_bounds_ends_soon_too(text: str) -> None:
    with soon():
        compile_template(f"${{{{ {text} }}}}", allow=ALLOW).evaluate({"input": {}})


def test_many_expressions_share_one_bound() -> None:
    value = {str(n): "${{ sum(range(100000)) }}" for n in range(1_000)}
    with soon(), pytest.raises(ExpressionFailed):
        compile_template(value, allow=ALLOW).evaluate({"input": {}})


@pytest.mark.parametrize(
    "text", ["${{" * 100_000, "${{ 1 }}" * 20_000, "}}" * 99_999 + "${{", "$${{" * 99_999]
)
def test_text_with_braces_is_read_soon(text: str) -> None:
    with soon(), suppress(BadExpression, ExpressionFailed):
        compile_template(text, allow=ALLOW).evaluate({"input": {}})


@pytest.mark.parametrize(
    "text",
    ["0 0 30 2 *", "0 0 31 2,4,6,9,11 *", "* * * * 8", "*/0 * * * *", "0-99999999 * * * *",
     ",".join(["1"] * 50_000) + " * * * *", "* " * 10_000, "1-59/1,1-59/2 " * 5,
     "@every 1ns", "\x00 * * * *", "٣ * * * *"],
    ids=lambda text: text[:20],
)  # fmt: skip
def test_a_schedule_that_never_comes_is_refused_soon(api: Api, echo: str, text: str) -> None:
    with soon():
        answer = api.put("/schedules/s", {"workflow": "echo", "cron": text})
    assert answer.status == 422, answer.text


@pytest.mark.parametrize(
    "pattern", [r"^(a+)+$", r"^(a|a)*$", r"^(.*a){30}$", r"(x+x+)+y", r"^([a-zA-Z]+)*$"]
)
def test_a_pattern_that_backtracks_ends_soon(pattern: str) -> None:
    with soon():
        schema = compile_schema({"type": "string", "pattern": pattern})
        schema.problems("a" * 50_000 + "!", "")
        schema.problems("x" * 50_000, "")


@pytest.mark.parametrize("pattern", [r"^(?=(a+)+$)", r"(a+)\1+$", r"(?<!a)b"])
def test_a_pattern_that_can_only_backtrack_is_refused(api: Api, pattern: str) -> None:
    step = {"name": "a", "handler": "core.echo"}
    schema = {"type": "object", "properties": {"x": {"type": "string", "pattern": pattern}}}
    answer = api.put("/workflows/w", {"steps": [step], "input_schema": schema})
    assert answer.status == 422, answer.text
