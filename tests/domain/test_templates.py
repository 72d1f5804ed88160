"""Templates: expressions in text, at any depth of a value, and what they refer to."""

import pytest

from orchestrator.domain.expressions import (
    BadExpression,
    ExpressionFailed,
    Template,
    compile_template,
)

ALLOW = frozenset({"input", "run", "tenant", "secrets", "steps"})
SCOPE: dict[str, object] = {
    "input": {"n": 2**64, "name": "Ada", "on": True, "none": None, "list": [1, "é"], "f": 1.5},
    "steps": {"a": {"output": 1, "state": "succeeded"}, "b": {"output": 2, "state": "failed"}},
    "secrets": {"A": "x", "B": "y"},
}


def template(value: object) -> Template:
    return compile_template(value, allow=ALLOW)


@pytest.mark.parametrize(
    ("value", "result"),
    [
        ("${{ input.n }}", 2**64),
        ("${{input.n}}", 2**64),
        ("${{\n  input.n\n}}", 2**64),
        ("${{ input.none }}", None),
        ("n=${{ input.n }}", "n=18446744073709551616"),
        ("${{ input.n }} ", "18446744073709551616 "),
        ("${{ input.name }} ${{ input.on }}", "Ada true"),
        ("${{ input.none }}/${{ input.list }}/${{ input.f }}", 'null/[1,"é"]/1.5'),
        ("${{ {'a': 1} }}!", '{"a":1}!'),
        ("$${{ input.n }}", "${{ input.n }}"),
        ("$$${{ x", "$${{ x"),
        ("a $${{ b }} ${{ input.name }}", "a ${{ b }} Ada"),
        ("${{ {'a': {'b': 1}} }}", {"a": {"b": 1}}),
        ("${{ {'a': {'b': '}}'}}}}", {"a": {"b": "}}"}}),
        ("${{ '}}' }}", "}}"),
        ("${{ '''a'b''' + \"'\" }}", "a'b'"),
        ("${{ 'a\\'b' }}", "a'b"),
        ("${{ r'\\d' + 'x' }}", "\\dx"),
        ("${{ '\\u00e9\\n' }}", "é\n"),
        ("", ""),
        ("$", "$"),
        ("{{ x }} $(y) ${z} }}", "{{ x }} $(y) ${z} }}"),
        (5, 5),
        (None, None),
        ([], []),
        ({"a": ["${{ input.n }}", {"b": "x${{ 1 }}"}]}, {"a": [2**64, {"b": "x1"}]}),
        ({"${{ input.n }}": 1}, {"${{ input.n }}": 1}),
        (("${{ 1 }}",), [1]),
    ],
)
def test_evaluates(value: object, result: object) -> None:
    found = template(value).evaluate(SCOPE)
    assert found == result
    assert type(found) is type(result)


def test_what_a_template_uses() -> None:
    found = template(
        {
            "x": ["${{ steps.b.output }}", "${{ steps['a'].state }} ${{ steps.b.output }}"],
            "y/z": "${{ steps.c.output.d + input.n }}",
            "s": "${{ secrets.A + secrets['B'] }}",
        }
    )
    assert found.references == {"a", "b", "c"}
    assert found.places == {"b": "/x/0", "a": "/x/1", "c": "/y~1z"}
    assert found.roots == {"steps", "input", "secrets"}
    assert found.secrets == {"A", "B"}
    assert not found.is_constant
    assert not found.is_expression


@pytest.mark.parametrize("value", ["x", 5, {"a": ["b"]}, "$${{ x }}", {}])
def test_constants(value: object) -> None:
    found = template(value)
    assert found.is_constant
    assert not found.is_expression
    assert not found.references
    assert not found.roots


@pytest.mark.parametrize(
    ("value", "one"),
    [("${{ 1 }}", True), (" ${{ 1 }}", False), ("${{ 1 }}${{ 2 }}", False), (["${{ 1 }}"], False)],
)
def test_whether_it_is_one_expression(value: object, one: bool) -> None:
    found = template(value)
    assert found.is_expression is one
    assert not found.is_constant


def test_what_the_template_writes_is_new_each_time() -> None:
    found = template({"a": [{"b": 1}]})
    first = found.evaluate({})
    assert isinstance(first, dict)
    first["a"][0]["b"] = 2
    first["a"].append(3)
    assert found.evaluate({}) == {"a": [{"b": 1}]}


def test_every_fault_is_told_with_its_place() -> None:
    with pytest.raises(BadExpression) as caught:
        template({"a": ["${{ nope }}", "ok", "${{ 1 + }}"], "b/c": "x ${{ item }}", "d": "${{"})
    assert [(fault.pointer, fault.message.split(":")[0]) for fault in caught.value.all] == [
        ("/a/0", "`nope` is not defined"),
        ("/a/2", "not an expression"),
        ("/b~1c", "`item` is not available here"),
        ("/d", "${{ is not closed by }}"),
    ]
    assert caught.value.pointer == "/a/0"
    assert caught.value.message == str(caught.value) == "`nope` is not defined"


def test_the_same_fault_at_two_places() -> None:
    with pytest.raises(BadExpression) as caught:
        template(["${{ nope }}", "${{ nope }}"])
    assert [fault.pointer for fault in caught.value.all] == ["/0", "/1"]


def test_text_is_bounded() -> None:
    many = template("".join(["${{ input.big }}"] * 100))
    with pytest.raises(ExpressionFailed, match="more than 67,108,864 characters"):
        many.evaluate({"input": {"big": "x" * 1_000_000}})


def test_a_template_may_be_shared_between_scopes() -> None:
    found = template("${{ [x for x in input.list if x != input.f] }}")
    for number in range(50):
        scope: dict[str, object] = {"input": {"list": [number, number + 1], "f": number}}
        assert found.evaluate(scope) == [number + 1]
