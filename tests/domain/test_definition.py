"""Good definitions are read in full, with the contract's defaults."""

import json
import time
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest

from orchestrator.domain.definition import (
    Call,
    Definition,
    HandlerInfo,
    load,
    parse_definition,
)
from orchestrator.domain.errors import InvalidDefinition
from orchestrator.domain.retries import RetryPolicy
from orchestrator.domain.statuses import TriggerRule


def one(step: Mapping[str, object] | None = None, **top: object) -> dict[str, Any]:
    return {"name": "w", "steps": [{"name": "a", "handler": "core.echo", **(step or {})}], **top}


def chain(size: int) -> dict[str, Any]:
    return {
        "name": "long",
        "steps": [
            {
                "name": f"s{n}",
                "handler": "core.echo",
                "args": {"value": f"${{{{ steps.s{n - 1}.output }}}}" if n else 1},
                "retry": {"max_attempts": 2},
            }
            for n in range(size)
        ],
    }


def test_defaults() -> None:
    found = parse_definition(one())
    assert found.description == ""
    assert found.input_schema is None
    assert found.timeout == timedelta(days=7)
    assert found.max_parallel is None
    assert (found.fail_fast, found.priority, found.concurrency) == (False, 5, None)
    assert (found.output, found.output_needs, found.leaves) == (None, (0,), (0,))
    [step] = found.steps
    assert (step.ordinal, step.name, step.kind, step.handler) == (0, "a", "handler", "core.echo")
    assert step.args.evaluate({}) == {}
    assert step.depends_on == ()
    assert step.parents == step.children == step.needs == ()
    assert step.condition is None
    assert step.trigger_rule is TriggerRule.ALL_SUCCESS
    assert step.retry.max_attempts == 1
    assert (step.timeout, step.timeout_given) == (timedelta(hours=1), False)
    assert (step.queue, step.pool, step.heartbeat) == ("io", None, None)
    assert (step.has_on_error_value, step.on_error_value) == (False, None)
    assert [step.map, step.compensate, step.undo, step.cache, step.repeat] == [None] * 5
    assert not step.needs_input


def test_a_given_retry_has_defaults_of_its_own() -> None:
    [step] = parse_definition(one({"retry": {}})).steps
    assert step.retry == RetryPolicy(
        max_attempts=3,
        delay=timedelta(seconds=1),
        factor=2,
        max_delay=timedelta(seconds=60),
        jitter=0.25,
        never_on=(),
        only_on=(),
    )


def test_every_value_may_be_given() -> None:
    found = parse_definition(
        one(
            {
                "retry": {
                    "max_attempts": 1,
                    "delay": 0,
                    "factor": 1.5,
                    "max_delay": "0s",
                    "jitter": 0,
                    "never_on": ["app.errors.Bad", "KeyError"],
                    "only_on": ["Exception"],
                },
                "timeout": 0.25,
                "queue": "gpu-1",
                "on_error": {"value": {"cost": 0, "text": "$${{ x }}"}},
                "if": True,
                "trigger_rule": "always",
            },
            description="d",
            input_schema={"type": "object"},
            timeout="2d",
            max_parallel=1,
            fail_fast=True,
            priority=0,
            output={"a": ["${{ steps.a.output }}", "${{ input.x }}"]},
        )
    )
    [step] = found.steps
    assert step.retry.never_on == ("app.errors.Bad", "KeyError")
    assert step.retry.only_on == ("Exception",)
    assert (step.retry.delay, step.retry.max_delay) == (timedelta(0), timedelta(0))
    assert (step.retry.factor, step.retry.jitter, step.retry.max_attempts) == (1.5, 0, 1)
    assert step.timeout == timedelta(milliseconds=250)
    assert step.queue == "gpu-1"
    assert step.has_on_error_value
    assert step.on_error_value == {"cost": 0, "text": "${{ x }}"}
    assert step.condition is not None
    assert step.condition.evaluate({}) is True
    assert step.trigger_rule is TriggerRule.ALWAYS
    assert found.input_schema == {"type": "object"}
    assert (found.timeout, found.max_parallel) == (timedelta(days=2), 1)
    assert (found.fail_fast, found.priority) == (True, 0)
    assert found.output is not None
    scope: dict[str, object] = {"steps": {"a": {"output": 2**64}}, "input": {"x": 1}}
    assert found.output.evaluate(scope) == {"a": [2**64, 1]}


def test_on_error_may_be_null() -> None:
    [step] = parse_definition(one({"on_error": {"value": None}})).steps
    assert step.has_on_error_value
    assert step.on_error_value is None


def test_references_add_dependencies() -> None:
    found = parse_definition(
        {
            "name": "w",
            "steps": [
                {
                    "name": "last",
                    "handler": "h",
                    "depends_on": ["b", "b"],
                    "if": "${{ steps.c.state == 'succeeded' }}",
                    "args": {"x": ["${{ steps.a.output }}", "${{ steps['c'].output + input.y }}"]},
                },
                {"name": "a", "handler": "h", "args": {"secret": "${{ secrets.TOKEN }}"}},
                {"name": "b", "handler": "h", "args": {"x": "${{ steps.a.output }}"}},
                {"name": "c", "handler": "h"},
            ],
        }
    )
    last, a, b, c = found.steps
    assert last.depends_on == ("b", "c", "a")
    assert (last.parents, last.needs, last.needs_input) == ((2, 3, 1), (3, 1), True)
    assert (a.children, b.children, c.children) == ((0, 2), (0,), (0,))
    assert (b.depends_on, b.needs, b.needs_input) == (("a",), (1,), False)
    assert a.secrets == {"TOKEN"}
    assert found.leaves == found.output_needs == (0,)


def test_every_place_for_steps_adds_a_dependency() -> None:
    found = load(
        {
            "name": "w",
            "steps": [
                *({"name": name, "handler": "h"} for name in ("a", "b", "c", "d", "e")),
                {
                    "name": "last",
                    "handler": "h",
                    "args": {"x": "${{ item }}"},
                    "map": {"over": {"handler": "h", "args": {"x": "${{ steps.a.output }}"}}},
                    "cache": {"key": {"k": "${{ steps.b.output }}"}, "ttl": 1},
                    "compensate": {
                        "handler": "h",
                        "args": {"e": "${{ error.code }}", "x": "${{ steps.c.output }}"},
                    },
                    "undo": {"handler": "h", "args": {"x": "${{ [output, steps.d.output] }}"}},
                },
            ],
        }
    )
    last = found.steps[-1]
    assert last.depends_on == ("a", "b", "c", "d")
    assert last.needs == (0, 1)
    assert last.map is not None
    assert isinstance(last.map.over, Call)
    assert last.map.over.handler == "h"


def test_maps_and_concurrency() -> None:
    document = one({"map": {"over": "${{ [1, 2] }}"}}, concurrency={"key": "${{ input.c }}"})
    found = load(document)
    assert found.concurrency is not None
    assert (found.concurrency.limit, found.concurrency.on_conflict) == (1, "queue")
    [step] = found.steps
    assert step.map is not None
    assert (step.map.batch_size, step.map.max_in_flight, step.map.ordered) == (1, 10, True)
    for on_error, expected in (
        ("continue", ("continue", None)),
        ({"max_failures": 3}, ("max_failures", 3)),
    ):
        [step] = load(one({"map": {"over": "${{ [1] }}", "on_error": on_error}})).steps
        assert step.map is not None
        assert (step.map.on_error, step.map.max_failures) == expected


def _handlers(name: str) -> HandlerInfo | None:
    known = {
        "plain": HandlerInfo("plain"),
        "heavy": HandlerInfo("heavy", queue="cpu", timeout=timedelta(seconds=9), kind="cpu"),
    }
    return known.get(name)


@pytest.mark.parametrize(
    ("step", "queue", "timeout"),
    [
        ({"handler": "plain"}, "io", timedelta(hours=1)),
        ({"handler": "heavy"}, "cpu", timedelta(seconds=9)),
        ({"handler": "heavy", "queue": "io", "timeout": "1s"}, "io", timedelta(seconds=1)),
    ],
)
def test_a_step_wins_over_its_handler(
    step: dict[str, object], queue: str, timeout: timedelta
) -> None:
    document = one(step)
    for found in (
        parse_definition(document, handlers=_handlers),
        load(document, handlers=_handlers),
    ):
        assert (found.steps[0].queue, found.steps[0].timeout) == (queue, timeout)


def test_loading_asks_no_more_whether_a_handler_exists() -> None:
    assert load(one({"handler": "gone"}), handlers=_handlers).steps[0].queue == "io"
    assert load(one({"handler": "heavy"})).steps[0].queue == "io"


def test_a_handler_is_asked_for_once() -> None:
    asked: list[str] = []

    def handlers(name: str) -> HandlerInfo | None:
        asked.append(name)
        return HandlerInfo(name)

    parse_definition(chain(10), handlers=handlers)
    assert asked == ["core.echo"]


def test_the_document_is_what_the_user_wrote() -> None:
    document = one({"args": {"n": 2**64, "t": (1, 2)}}, timeout="60m")
    found = parse_definition(document)
    assert found.document == one({"args": {"n": 2**64, "t": [1, 2]}}, timeout="60m")
    document["steps"][0]["args"]["n"] = 0
    assert found.document["steps"][0]["args"]["n"] == 2**64  # type: ignore[index]
    assert load(found.document) is not found
    assert load(found.document).checksum == found.checksum


def test_the_urls_name_is_filled_in() -> None:
    document = one()
    named = parse_definition(document, name="w")
    del document["name"]
    assert parse_definition(document, name="w").document == named.document
    assert parse_definition(document, name="w").checksum == named.checksum


def test_checksums_are_of_the_content() -> None:
    def turned(value: object) -> object:
        if isinstance(value, dict):
            return {key: turned(value[key]) for key in reversed(value)}
        return [turned(item) for item in value] if isinstance(value, list) else value

    def checksum(document: object) -> str:
        return parse_definition(document).checksum

    document = one({"args": {"b": 1, "a": [1, {"y": 1, "x": 2}]}}, priority=5)
    assert (
        checksum(document)
        == checksum(turned(document))
        == checksum(json.loads(json.dumps(document)))
    )
    assert len(checksum(document)) == 64
    others = [
        one({"args": {"b": 1, "a": [1, {"y": 1, "x": 2}]}}),
        one({"args": {"b": True, "a": [1, {"y": 1, "x": 2}]}}, priority=5),
        {**document, "description": "new"},
        {**document, "name": "other"},
    ]
    assert len({checksum(document), *map(checksum, others)}) == 5


@pytest.mark.parametrize("name", ["a", "0", "order-fulfilment", "a.b_c-1", "x" * 63])
def test_names_of_workflows(name: str) -> None:
    assert parse_definition(one(name=name)).name == name


def test_a_workflow_may_call_itself_and_known_ones() -> None:
    def called(name: str) -> str | None:
        definition = parse_definition(
            {"name": "w", "steps": [{"name": "a", "workflow": name}]},
            workflows=lambda known: known == "known",
        )
        return definition.steps[0].workflow

    assert (called("w"), called("known")) == ("w", "known")
    with pytest.raises(InvalidDefinition) as caught:
        called("unknown")
    assert [problem.code for problem in caught.value.problems] == ["unknown_workflow"]


def test_steps_that_wait() -> None:
    schema = {"type": "object", "required": ["ok"]}
    document = {
        "name": "w",
        "steps": [
            {"name": "a", "sleep": "250ms"},
            {"name": "b", "signal": "go", "payload_schema": schema, "timeout": "2d"},
            {"name": "c", "signal": "go"},
            {
                "name": "d",
                "handler": "h",
                "repeat": {"until": "${{ output == input.x }}", "max": 3, "delay": 0},
            },
        ],
        "concurrency": {"key": "${{ input.c }}", "on_conflict": "reject"},
    }
    definition = parse_definition(document)
    a, b, c, d = definition.steps
    assert (a.kind, a.sleep) == ("sleep", timedelta(milliseconds=250))
    assert (b.signal, b.payload_schema, b.timeout_given) == ("go", schema, True)
    assert (c.payload_schema, c.timeout_given) == (None, False)
    assert d.needs_input, "repeat.until asks for the input"
    assert definition.concurrency is not None
    assert (definition.concurrency.limit, definition.concurrency.on_conflict) == (1, "reject")


def test_ten_thousand_steps_are_read_in_seconds() -> None:
    started = time.process_time()
    found: Definition = parse_definition(chain(10_000), handlers=HandlerInfo)
    again = load(found.document)
    assert time.process_time() - started < 30
    assert len(again.steps) == 10_000
    assert again.steps[9_999].parents == (9_998,)
    assert found.leaves == (9_999,)


@pytest.mark.parametrize(
    ("args", "refused"),
    [
        ({"query": "SELECT 1"}, False),
        ({"query": "SELECT '$${{ literally }}'"}, False),
        ({"query": 1}, False),
        ({"values": ["${{ input.n }}"]}, False),
        ("${{ input }}", False),
        ({"query": "SELECT ${{ input.n }}"}, True),
        ({"query": "SELECT ${{ without an end"}, True),
    ],
)
def test_what_a_handler_wants_as_it_is_written_holds_no_expression(
    args: object, refused: bool
) -> None:
    info = HandlerInfo("core.sql", accepts_any=True, constant=("query",))
    document = one({"handler": "core.sql", "args": args})
    try:
        parse_definition(document, handlers=lambda _: info)
        found = set()
    except InvalidDefinition as error:
        found = {(one.path, one.code) for one in error.problems}
    assert (("/steps/0/args/query", "not_constant") in found) == refused
