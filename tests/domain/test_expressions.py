"""Expressions mean what they mean in Python, on JSON values."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.expressions import (
    BadExpression,
    ExpressionFailed,
    compile_expression,
    compile_template,
    evaluate_condition,
)

ALLOW = frozenset({"input", "run", "tenant", "secrets", "steps"})
SCOPE: dict[str, object] = {
    "input": {
        "user_id": 2**64,
        "items": [3, 1, 2],
        "user": None,
        "pairs": [[1, 2], [3, 4]],
        "name": "héllo",
        "price": 1.5,
        "prices": {"b": 1, "a": 2},
        "with space": {"a.b": 7},
        "rows": [{"id": 1, "tags": ["x"]}, {"id": 2, "tags": []}],
        "on": True,
        "__typename": "User",
    },
    "steps": {
        "a": {"output": {"x": [{"y": 5}]}, "state": "succeeded"},
        "skipped": {"output": None, "state": "skipped"},
    },
    "run": {"id": "r-1", "labels": {"team": "red"}},
    "tenant": {"slug": "demo"},
    "secrets": {"TOKEN": "s3cret"},
}


def evaluate(text: str) -> object:
    return compile_template(f"${{{{ {text} }}}}", allow=ALLOW).evaluate(SCOPE)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("input.user_id", 2**64),
        ("input['user_id']", 2**64),
        ('input["with space"]["a.b"]', 7),
        ("input.items", [3, 1, 2]),
        ("input.items[0]", 3),
        ("input.items[-1]", 2),
        ("input.items[1:]", [1, 2]),
        ("input.items[::-1]", [2, 1, 3]),
        ("input.items[input.items[1]]", 1),
        ("input.name[1]", "é"),
        ("input.name[:2]", "hé"),
        ("input.__typename", "User"),
        ("steps.a.output.x[0].y", 5),
        ('steps["a"].output["x"][0]["y"]', 5),
        ("steps.a.state", "succeeded"),
        ("steps.skipped.output", None),
        ("run.id", "r-1"),
        ("run.labels.team", "red"),
        ("tenant.slug", "demo"),
        ("secrets.TOKEN", "s3cret"),
        ("secrets['TOKEN'] == 's3cret'", True),
        ("[row.id for row in input.rows]", [1, 2]),
        ("[{'a': 1}][0].a", 1),
        ("{'items': 5}.items", 5),
    ],
)
def test_paths(text: str, value: object) -> None:
    assert evaluate(text) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1 + 2 * 3 - 4 / 8", 6.5),
        ("7 // 2 - 7 % 4", 0),
        ("2 ** 10", 1024),
        ("2 ** -1", 0.5),
        ("-input.price + +1", -0.5),
        ("input.user_id + 1", 2**64 + 1),
        ("'a' + 'b' * 2 + 2 * 'c'", "abbcc"),
        ("[1] + [2] * 2 + 2 * [3] + [] * -1", [1, 2, 2, 3, 3]),
        ("'ab' 'cd'", "abcd"),
        ("1 < 2 <= 2 != 3", True),
        ("1 > 2 or 3 >= 4 or 5 == 5.0", True),
        ("not input.user", True),
        ("input.user is None and 1 is not None", True),
        ("input.on is True", True),
        ("None or 0 or 'x'", "x"),
        ("1 and [] and 2", []),
        ("input.prices == {'a': 2, 'b': 1.0} != {'a': 2, 'b': [None, '1']}", True),
        ("1 in [1, 2] and 3 not in (1, 2)", True),
        ("'a' in input.prices and 1 not in input.prices", True),
        ("'él' in input.name", True),
        ("'yes' if input.price > 1 else 'no'", "yes"),
        ("'yes' if input.price > 2 else 1 / 0", None),
        ("[1, 'a', None, True, 1.5]", [1, "a", None, True, 1.5]),
        ("(1, 2)", [1, 2]),
        ("1, 2", [1, 2]),
        ("{'a': {'b': 1}, 'c': []}", {"a": {"b": 1}, "c": []}),
        ("{}", {}),
        ("0x10 + 1_000", 1016),
        ("1 +\n 2", 3),
        ("[x * 2 for x in input.items if x > 1]", [6, 4]),
        ("[a * b for a, b in input.pairs]", [2, 12]),
        ("[a for [a, (b, c)] in [[1, [2, 3]]] if b < c]", [1]),
        ("[x + y for x in 'ab' for y in 'cd' if y != 'd']", ["ac", "bc"]),
        ("[[y for y in range(x)] for x in range(3)]", [[], [0], [0, 1]]),
        ("{k: input.prices[k] + 1 for k in sorted(input.prices)}", {"a": 3, "b": 2}),
        ("[input for input in [1]]", [1]),
        ("[item for item in [1] if item] + [output for output in [2]]", [1, 2]),
        ("[x for x in [1] for x in [x + 1]]", [2]),
        ("sum(x for x in input.items) + sum(y for y in [x for x in [1]])", 7),
        ("[any(x > y for x in [1, 5, 2]) for y in input.items]", [True, True, True]),
        ("[x for x in [1, 2] if any(x == y for y in [1, 0])] + [x for x in [3]]", [1, 3]),
    ],
)
def test_syntax(text: str, value: object) -> None:
    if value is None:
        with pytest.raises(ExpressionFailed):
            evaluate(text)
    else:
        found = evaluate(text)
        assert found == value
        assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("len('abc') + len([1]) + len({'a': 1})", 5),
        ("min(input.items)", 1),
        ("max(3, 1, 2)", 3),
        ("min('b', 'a')", "a"),
        ("max([], default=0)", 0),
        ("max([1], default=0)", 1),
        ("min(x for x in [2, 1])", 1),
        ("sum(input.items)", 6),
        ("sum([1.5, True], 2)", 4.5),
        ("sum([1], start=2)", 3),
        ("sum((x for x in [1, 2]), 1)", 4),
        ("sum([2 ** 64, 1])", 2**64 + 1),
        ("sorted(input.items)", [1, 2, 3]),
        ("sorted('cab', reverse=True)", ["c", "b", "a"]),
        ("sorted(input.prices)", ["a", "b"]),
        ("sorted([[2, 1], [1, 5]])", [[1, 5], [2, 1]]),
        ("any([0, 1]) and not any([])", True),
        ("all([1, 0]) or all([])", True),
        ("any(1 / x for x in [1, 0])", True),
        ("abs(-5) + abs(2.5)", 7.5),
        ("round(2.5)", 2),
        ("round(2.567, 2)", 2.57),
        ("round(1234, -2)", 1200),
        ("round(2.5, None)", 2),
        ("round(2.567, ndigits=1)", 2.6),
        ("str(5) + str('x') + str()", "5x"),
        ("str(True) + str(None)", "TrueNone"),
        ("str([1, 'a'])", "[1, 'a']"),
        ("str(2 ** 64)", "18446744073709551616"),
        ("int('42') + int(-1.9) + int() + int(True)", 42),
        ("int('ff', 16) + int('11', base=2)", 258),
        ("int(' 18446744073709551616 ')", 2**64),
        ("float('1.5') + float(2) + float()", 3.5),
        ("bool([]) or bool(1)", True),
        ("bool()", False),
        ("range(3)", [0, 1, 2]),
        ("range(5, 0, -2)", [5, 3, 1]),
        ("range(0, 10, 3)", [0, 3, 6, 9]),
        ("range(3, 0) + range(0, 3, -1)", []),
    ],
)
def test_functions(text: str, value: object) -> None:
    found = evaluate(text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("input.user.id", 'input.user.id: there is no "id" in null'),
        ("input.nope.id", 'input.nope.id: "nope" is missing'),
        ("input['nope']", "input['nope']: \"nope\" is missing"),
        ("input.items[5]", "input.items[5]: there is no item 5 among 3"),
        ("input.items[-4]", "there is no item -4 among 3"),
        ("input.items.first", 'input.items.first: there is no "first" in a list'),
        ("input.items['a']", 'there is no "a" in a list'),
        ("input.name.upper", 'there is no "upper" in text'),
        ("input.price.real", 'there is no "real" in a number'),
        ("input.on[0]", "there is no 0 in a boolean"),
        ("input[0]", "0 is not a key of an object"),
        ("steps.skipped.output.id", 'steps.skipped.output.id: there is no "id" in null'),
        ("steps.nobody.output", '"nobody" is missing'),
        ("secrets.NONE", '"NONE" is missing'),
        ("1 + input.nope", '1 + input.nope: input.nope: "nope" is missing'),
        ("input.items[input.name]", 'there is no "héllo" in a list'),
        ("input.items[True]", "there is no True in a list"),
        ("input.items[10 ** 30]", "among 3"),
        ("input[None]", "null is not a key of an object"),
        ("input[1.5]", "a number is not a key of an object"),
        ("input.nope" + ".x" * 200, "…"),
    ],
)
def test_a_missing_path_is_named(text: str, message: str) -> None:
    with pytest.raises(ExpressionFailed) as caught:
        evaluate(text)
    assert message in caught.value.message
    assert caught.value.message == str(caught.value)


@pytest.mark.parametrize("name", ["input", "input.x", "1 + input", "[input[0]]"])
def test_a_root_that_the_scope_lacks_is_named(name: str) -> None:
    template = compile_template(f"${{{{ {name} }}}}", allow=ALLOW)
    with pytest.raises(ExpressionFailed, match="`input` is not available here"):
        template.evaluate({})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 / 0", "divides by zero"),
        ("1 // 0", "divides by zero"),
        ("1.5 % 0", "divides by zero"),
        ("0 ** -1", "divides by zero"),
        ("'a' + 1", "+ is not defined for text and a number"),
        ("[1] - [1]", "- is not defined for a list and a list"),
        ("'%d' % 1", "% is not defined for text and a number"),
        ("'a' * 1.5", "* is not defined for text and a number"),
        ("None * 2", "* is not defined for null and a number"),
        ("{} / 2", "/ is not defined for an object and a number"),
        ("2 // 'a'", "// is not defined"),
        ("2 ** 'a'", "** is not defined"),
        ("-'a'", "- is not defined"),
        ("+[]", "+ is not defined"),
        ("1 < 'a'", "'<' not supported"),
        ("1 in 5", "`in` needs a list, an object or text, not a number"),
        ("1 in 'a'", "text holds text, not a number"),
        ("[x for x in 5]", "a number has no items"),
        ("[x for x in None]", "null has no items"),
        ("[a for a, b in [1]]", "a number is not a list of 2 items"),
        ("[a for a, b in [[1, 2, 3]]]", "a list is not a list of 2 items"),
        ("{1: 2}", "the keys of an object are text, not a number"),
        ("{x: 1 for x in [None]}", "the keys of an object are text, not null"),
        ("input.prices[0:1]", "only a list or text has slices, not an object"),
        ("input.items['a':]", "bounded by whole numbers, not text"),
        ("input.items[::0]", "the step of a slice is not 0"),
        ("len(5)", "len() needs a list, an object or text, not a number"),
        ("min([])", "min() of nothing"),
        ("max(1, 'a')", "not supported between"),
        ("sum(['a'])", "sum() needs numbers, not text"),
        ("sum([[1]], [])", "sum() needs numbers, not a list"),
        ("sum(5)", "a number has no items to go through"),
        ("sorted([1, 'a'])", "not supported between"),
        ("any(None)", "null has no items"),
        ("abs('a')", "abs() needs numbers, not text"),
        ("round('a')", "round() needs numbers, not text"),
        ("round(1, 'a')", "round() takes at most 4,300 places"),
        ("int('x')", "int() of text that is not a whole number"),
        ("int('1.5')", "int() of text that is not a whole number"),
        ("int([])", "int() needs a number or text, not a list"),
        ("int('1', 'x')", "the base of int() is a number, not text"),
        ("int('1', 99)", "int() of text that is not a whole number"),
        ("float('x')", "float() of text that is not a number"),
        ("float('nan')", "float() of what is not a finite number"),
        ("float('-inf')", "float() of what is not a finite number"),
        ("float(None)", "float() needs a number or text, not null"),
        ("float(10 ** 400)", "too large a number"),
        ("range('a')", "range() needs whole numbers, not text"),
        ("range(1, 2, 0)", "the step of range() is not 0"),
    ],
)
def test_what_makes_no_sense_fails(text: str, message: str) -> None:
    with pytest.raises(ExpressionFailed) as caught:
        evaluate(text)
    assert message in caught.value.message
    assert caught.value.message.startswith(text)


def test_errors_do_not_repeat_values() -> None:
    for text in ("int(secrets.TOKEN)", "float(secrets.TOKEN)", "-secrets.TOKEN"):
        with pytest.raises(ExpressionFailed) as caught:
            evaluate(text)
        assert "s3cret" not in caught.value.message


_numbers = st.integers(min_value=-50, max_value=50) | st.sampled_from([0.5, 2.25, -1.5])
_leaves = st.one_of(
    _numbers.map(repr), st.sampled_from(["a", "b", "'x'", "True", "None", "[1, 2]"])
)
_OPERATORS = ["+", "-", "*", "/", "//", "%", "==", "!=", "<", ">", "<=", ">=", "and", "or", "in"]
_sources = st.recursive(
    _leaves,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(_OPERATORS), inner).map(" ".join).map("({})".format),
        inner.map("(not {})".format),
        inner.map("(-{})".format),
        st.tuples(inner, inner, inner).map("({0[0]} if {0[1]} else {0[2]})".format),
        st.lists(inner, max_size=3).map(lambda parts: f"[{', '.join(parts)}]"),
        st.tuples(inner, inner).map("[({0[0]}) for a in [{0[1]}, 3]]".format),
        st.tuples(
            st.sampled_from(["len", "str", "bool", "abs", "sum", "any", "sorted"]), inner
        ).map("{0[0]}({0[1]})".format),
    ),
    max_leaves=8,
)


@given(_sources, _numbers, st.text("xyz", max_size=3))
def test_the_result_is_pythons(source: str, a: float, b: str) -> None:
    try:
        expected = eval(source, {"a": a, "b": b})
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):
        expected = ExpressionFailed
    template = compile_expression(source, allow=frozenset({"a", "b"}))
    try:
        found = template.evaluate({"a": a, "b": b})
    except ExpressionFailed:
        # We may be stricter than Python, never laxer; where we differ is listed above.
        assert expected is ExpressionFailed or "%" in source or "sum" in source or " in " in source
    else:
        assert found == expected
        assert type(found) is type(expected)


def test_a_bare_expression_takes_any_names() -> None:
    template = compile_expression("a + max(b)", allow=frozenset({"a", "b"}))
    assert template.evaluate({"a": 1, "b": [2, 3]}) == 4
    with pytest.raises(BadExpression, match="`c` is not defined"):
        compile_expression("a + c", allow=frozenset({"a"}))
    with pytest.raises(BadExpression, match="not one expression"):
        compile_expression("1 }} ${{ 2", allow=frozenset())


@pytest.mark.parametrize(
    ("text", "truth"),
    [
        ("input.on", True),
        ("input.user", False),
        ("input.items", True),
        ("''", False),
        ("0.0", False),
    ],
)
def test_a_condition_is_pythons_truth(text: str, truth: bool) -> None:
    template = compile_template(f"${{{{ {text} }}}}", allow=ALLOW)
    assert evaluate_condition(template, SCOPE) is truth
