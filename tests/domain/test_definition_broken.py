"""Every kind of mistake in a definition has its code and its place, and none hides another."""

from decimal import Decimal
from typing import Any

import pytest

from orchestrator.domain.definition import HandlerInfo, load, parse_definition
from orchestrator.domain.errors import InvalidDefinition, Problem
from tests.domain.mistakes import POLICIES, STEPS, TOP, step, top


def problems(document: object, **options: Any) -> list[Problem]:
    with pytest.raises(InvalidDefinition) as caught:
        parse_definition(document, **options)
    assert caught.value.code == "invalid_definition"
    return list(caught.value.problems)


def found(document: object, **options: Any) -> list[tuple[str, str]]:
    """Code and path of every problem."""
    return [(problem.code, problem.path) for problem in problems(document, **options)]


def _id(value: object) -> str:
    return value if isinstance(value, str) else ""


@pytest.mark.parametrize(("document", "code", "path"), [*TOP, *STEPS, *POLICIES], ids=_id)
def test_each_mistake_has_its_code_and_place(document: object, code: str, path: str) -> None:
    assert found(document) == [(code, path)]


@pytest.mark.parametrize(
    ("value", "path"),
    [
        (float("nan"), "/steps/1/args/x"),
        (Decimal(1), "/steps/1/args/x"),
        ("\0", "/steps/1/args/x"),
        ({1: 2}, "/steps/1/args/x"),
    ],
)
def test_what_is_not_json_has_its_place(value: object, path: str) -> None:
    assert found(step(args={"x": value})) == [("not_json", path)]


def test_the_urls_name_must_be_the_same() -> None:
    assert found(top(), name="other") == [("name_mismatch", "/name")]
    assert found(top(name=5), name="w") == [("wrong_type", "/name")]
    nameless = top()
    del nameless["name"]
    assert found(nameless, name="No!") == [("bad_name", "/name")]


def test_an_empty_step_lacks_its_name_and_what_it_does() -> None:
    name, kind = problems(top(steps=[{}]))
    assert [(one.code, one.path) for one in (name, kind)] == [("missing", "/steps/0")] * 2
    assert name.message == "name is missing"
    assert kind.message == "one of handler, workflow, signal and sleep is missing"


def test_what_does_not_exist() -> None:
    document = top(
        steps=[
            {
                "name": "a",
                "handler": "gone",
                "pool": "p",
                "map": {"over": {"handler": "gone"}},
                "compensate": {"handler": "gone"},
                "undo": {"handler": "gone"},
            },
            {"name": "b", "workflow": "gone"},
            {"name": "c", "workflow": ""},
            {"name": "d", "handler": "here", "pool": "q"},
        ]
    )
    assert found(
        document,
        handlers={"here": HandlerInfo("here")}.get,
        workflows=lambda _: False,
        pools=lambda name: name == "q",
    ) == [
        ("unknown_handler", "/steps/0/handler"),
        ("unknown_pool", "/steps/0/pool"),
        ("unknown_handler", "/steps/0/map/over/handler"),
        ("unknown_handler", "/steps/0/compensate/handler"),
        ("unknown_handler", "/steps/0/undo/handler"),
        ("unknown_workflow", "/steps/1/workflow"),
        ("unknown_workflow", "/steps/2/workflow"),
    ]


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (top(prioritty=1), "unknown key prioritty, did you mean priority?"),
        (step(retry={"max_attemps": 1}), "did you mean max_attempts?"),
        (step(trigger_rule="all_sucess"), "did you mean all_success?"),
        (step(depends_on=["aa"]), "there is no step aa, did you mean a?"),
        (step(xyzzy=1), "unknown key xyzzy"),
        (step(on_error="fale"), "did you mean fail?"),
    ],
)
def test_suggestions(document: object, message: str) -> None:
    [problem] = problems(document)
    assert problem.message.endswith(message)


def test_suggestions_do_not_take_for_ever() -> None:
    steps = [{"name": f"s{n}", "handler": "h", "depends_on": [f"t{n}"]} for n in range(3_000)]
    assert len(problems(top(steps=steps))) == 3_000


def test_a_cycle_is_told_with_its_path() -> None:
    document = top(
        steps=[
            {"name": "z", "handler": "h"},
            {"name": "c", "handler": "h", "args": {"x": "${{ steps.b.output }}"}},
            {"name": "a", "handler": "h", "depends_on": ["z", "c"]},
            {"name": "b", "handler": "h", "depends_on": ["a"]},
            {"name": "d", "handler": "h", "depends_on": ["c", "e"]},
            {"name": "e", "handler": "h", "depends_on": ["d"]},
        ]
    )
    first, second = problems(document)
    assert (first.code, first.path) == ("cycle", "/steps/1")
    assert first.message == "the steps wait for each other: c → a → b → c"
    assert (second.code, second.path) == ("cycle", "/steps/4/depends_on")
    assert second.message == "the steps wait for each other: d → e → d"


def test_a_long_cycle_is_shortened() -> None:
    size = 10_000
    steps = [
        {"name": f"s{n}", "handler": "h", "depends_on": [f"s{(n - 1) % size}"]} for n in range(size)
    ]
    [problem] = problems(top(steps=steps))
    assert problem.path == "/steps/0/depends_on"
    assert "s0 → s1 → " in problem.message
    assert "… 9901 more …" in problem.message
    assert problem.message.endswith(" → s9999 → s0")


def test_every_mistake_is_told_at_once() -> None:
    document = {
        "name": "W",
        "prioritty": 5,
        "steps": [
            5,
            {"name": "a", "retry": {"max_attempts": 0, "delay": "x"}, "timeout": "x"},
            {"name": "a", "handler": "h", "depends_on": ["q", "a"], "args": {"x": "${{ (}}"}},
        ],
    }
    assert set(found(document)) == {
        ("bad_name", "/name"),
        ("unknown_key", "/prioritty"),
        ("wrong_type", "/steps/0"),
        ("missing", "/steps/1"),
        ("out_of_range", "/steps/1/retry/max_attempts"),
        ("bad_duration", "/steps/1/retry/delay"),
        ("bad_duration", "/steps/1/timeout"),
        ("duplicate_name", "/steps/2/name"),
        ("unknown_dependency", "/steps/2/depends_on/0"),
        ("cycle", "/steps/2/depends_on/1"),
        ("bad_expression", "/steps/2/args/x"),
    }


def test_the_number_of_steps_is_bounded() -> None:
    steps = [{"name": f"s{n}", "handler": "h"} for n in range(11)]
    assert len(parse_definition(top(steps=steps), max_steps=11).steps) == 11
    [problem] = problems(top(steps=steps), max_steps=10)
    assert (problem.code, problem.path) == ("out_of_range", "/steps")
    assert "at most 10 steps" in problem.message


@pytest.mark.parametrize(
    ("more", "code", "path"),
    [
        ({"repeat": {"until": "${{ output }}", "max": 2}}, "out_of_place", "/steps/0/repeat"),
        ({"workflow": "x", "handler": None}, "out_of_place", "/steps/0/map"),
    ],
    ids=["repeat", "workflow"],
)
def test_a_map_beside_what_it_cannot_have_is_refused(
    more: dict[str, object], code: str, path: str
) -> None:
    given = {"name": "a", "handler": "h", "map": {"over": "${{ [1] }}"}, **more}
    document = top(steps=[{key: value for key, value in given.items() if value is not None}])
    places = {(problem.code, problem.path) for problem in problems(document)}
    assert (code, path) in places


def test_loading_what_was_never_published_fails() -> None:
    with pytest.raises(InvalidDefinition):
        load({"name": "w", "steps": "none"})
