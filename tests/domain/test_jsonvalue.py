"""JSON goes in and out unchanged, and what cannot be kept is refused with its place."""

import json
import math
from collections import OrderedDict
from collections.abc import Iterator
from decimal import Decimal
from enum import IntEnum, StrEnum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain import jsonvalue
from orchestrator.domain.jsonvalue import BadJson, NotJson, TooBig, copied, decode, encode, stored

_texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
_scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=-(10**60), max_value=10**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | _texts
)
values = st.recursive(
    _scalars,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(_texts, inner, max_size=5),
    max_leaves=20,
)


def nested(depth: int, leaf: object = 0) -> object:
    """`leaf` inside `depth` lists and objects."""
    for level in range(depth):
        leaf = [leaf] if level % 2 else {"a": leaf}
    return leaf


class Level(IntEnum):
    HIGH = 3


@given(values)
def test_what_is_written_is_read_again(value: object) -> None:
    text = encode(value)
    again = decode(text)
    assert again == value
    assert repr(again) == repr(value)
    assert decode(text.encode()) == value
    assert encode(value, max_bytes=len(text.encode())) == text


@given(values)
def test_a_copy_shares_no_list_and_no_object(value: object) -> None:
    again = copied(value)
    assert repr(again) == repr(value)
    assert not set(_containers(value)) & set(_containers(again))


def _containers(value: object) -> Iterator[int]:
    if isinstance(value, (list, dict)):
        yield id(value)
        for item in value.values() if isinstance(value, dict) else value:
            yield from _containers(item)


def test_a_copy_is_no_larger_than_the_value() -> None:
    part = [0] * 1000
    again = copied([part] * 100_000)
    assert isinstance(again, list)
    assert len({id(found) for found in again}) == 1


@given(values)
def test_the_text_is_compact_json(value: object) -> None:
    assert encode(value) == json.dumps(value, ensure_ascii=False, separators=(",", ":"))


@given(values)
def test_one_byte_too_many(value: object) -> None:
    limit = len(encode(value).encode()) - 1
    with pytest.raises(TooBig, match=f"larger than {limit} bytes"):
        encode(value, max_bytes=limit)


@pytest.mark.parametrize(
    "number", [2**64, -(2**64), 2**53 + 1, 10**4299, -(10**4300) + 1], ids=range(5)
)
def test_integers_keep_every_digit(number: int) -> None:
    assert decode(encode({"n": [number]})) == {"n": [number]}


def test_tuples_and_subclasses_are_written_as_what_they_are() -> None:
    class Word(StrEnum):
        YES = "yes"

    value = OrderedDict(a=(1, Level.HIGH), b=Word.YES)
    assert encode(value) == '{"a":[1,3],"b":"yes"}'


class Opaque:
    pass


@pytest.mark.parametrize(
    ("value", "reason", "place"),
    [
        (math.nan, "nan is not a JSON number", ""),
        ([1, [math.inf]], "inf is not a JSON number", "/1/0"),
        ({"a": -math.inf}, "-inf is not a JSON number", "/a"),
        ({"total": Decimal("1.5")}, "a Decimal is not a JSON value", "/total"),
        ({"a": {1, 2}}, "a set is not a JSON value", "/a"),
        ([b"x"], "a bytes is not a JSON value", "/0"),
        (Opaque(), "a Opaque is not a JSON value", ""),
        ({"a": {1: 2}}, "the key 1 is not text", "/a"),
        ({None: 2}, "the key None is not text", ""),
        ({"a": [{True: 2}]}, "the key True is not text", "/a/0"),
        ("a\0b", "text with U+0000 is not allowed", ""),
        ([None, True, 5, 1.5, "ok", "\0"], "text with U+0000 is not allowed", "/5"),
        (["\0", 5], "text with U+0000 is not allowed", "/0"),
        ({"x/y": ["\0"]}, "text with U+0000 is not allowed", "/x~1y/0"),
        ({"a\0": 1}, "text with U+0000 is not allowed", ""),
        (["ok", "\ud800"], "text with a lone surrogate is not allowed", "/1"),
        ({"\udfff": 1}, "text with a lone surrogate is not allowed", ""),
        pytest.param(10**4300, "an integer of more than 4300 digits", "", id="too many digits"),
        ([-(10**4300)], "an integer of more than 4300 digits", "/0"),
    ],
)
def test_what_is_not_json_is_named_with_its_place(value: object, reason: str, place: str) -> None:
    with pytest.raises(NotJson) as caught:
        encode(value)
    assert (caught.value.reason, caught.value.pointer) == (reason, place)
    assert str(caught.value) == (f"{reason} (at {place})" if place else reason)


def test_the_first_fault_is_told() -> None:
    shared = [1, 2]
    with pytest.raises(NotJson) as caught:
        encode({"a": shared, "b": shared, "c": [math.nan], "d": {1}})
    assert caught.value.pointer == "/c/0"


@pytest.mark.parametrize("text", ["\\u0000", "\\\\u0000", "\\ud800"])
def test_text_that_only_looks_like_an_escape(text: str) -> None:
    assert decode(encode({text: [text]})) == {text: [text]}


def test_depth_is_bounded_both_ways() -> None:
    deepest = nested(100)
    assert decode(encode(deepest)) == deepest
    assert encode(nested(100, Level.HIGH)) == encode(nested(100, 3))
    with pytest.raises(NotJson, match="100 levels deep"):
        encode(nested(101))
    with pytest.raises(NotJson, match="a Decimal"):
        encode(nested(100, Decimal(1)))
    with pytest.raises(BadJson) as caught:
        decode("[" * 101 + "]" * 101)
    assert caught.value.fault == "too_deep"
    assert encode(stored(f"[{encode(deepest)}]")[0]) == encode(deepest)  # type: ignore[index]
    with pytest.raises(BadJson, match="200 levels deep"):
        stored("[" * 201 + "]" * 201)


def test_brackets_in_text_are_no_depth() -> None:
    value = {"a": "[{" * 500, "b": ['"[' * 200, "\\[" * 200]}
    assert decode(encode(value)) == value


@pytest.mark.parametrize(
    "text", ["[" * 1_000_000, '{"a":' * 100_000, '["' * 101 + "["], ids=range(3)
)
def test_hostile_nesting_is_refused_without_recursion(text: str) -> None:
    with pytest.raises(BadJson):
        decode(text)


def test_a_value_in_itself_is_too_deep() -> None:
    value: list[object] = []
    value.append(value)
    with pytest.raises(NotJson, match="100 levels deep"):
        encode(value)


@pytest.mark.parametrize("leaf", [[], ["x" * 1000]])
def test_a_value_that_doubles_itself_is_too_big(leaf: list[object]) -> None:
    value: object = leaf
    for _ in range(80):
        value = [value, value]
    with pytest.raises(TooBig):
        encode(value, max_bytes=100_000)


def test_a_text_that_occurs_often_is_counted_often() -> None:
    with pytest.raises(TooBig):
        encode(["x" * 1_000_000] * 100_000, max_bytes=10_000_000)


def test_size_is_bounded_even_when_nobody_asks() -> None:
    with pytest.raises(TooBig):
        encode(["x" * 2**20] * 2**11)


def test_size_is_in_bytes() -> None:
    assert encode("é", max_bytes=4) == '"é"'
    with pytest.raises(TooBig):
        encode("é", max_bytes=3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "Expecting value"),
        ("{", "Expecting property name"),
        ("[1,]", "Expecting value"),
        ("1 2", "Extra data"),
        ("{'a': 1}", "Expecting property name"),
        ("NaN", "NaN is not JSON"),
        ("[-Infinity]", "-Infinity is not JSON"),
        ('"\n"', "Invalid control character"),
        ('"a\0"', "Invalid control character"),
        ("01", "Extra data"),
        ('"\ud800"', "lone surrogate"),
        (b'"\xff"', "not UTF-8 at byte 1"),
        (b"\xff\xfe1\x00", "not UTF-8 at byte 0"),
        (b'"\xed\xa0\x80"', "not UTF-8 at byte 1"),
        ("\ufeff1", "Expecting value"),
    ],
)
def test_malformed(text: str | bytes, message: str) -> None:
    with pytest.raises(BadJson, match=message) as caught:
        decode(text)
    assert caught.value.fault == "malformed"
    assert caught.value.message == str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": "\\u0000"}', "U+0000"),
        ('{"\\u0000": 1}', "U+0000"),
        ('["\\ud800"]', "lone surrogate"),
        ('["\\uDFFF"]', "lone surrogate"),
        ("1" * 4301, "4300 digits"),
        ("[-" + "1" * 5000 + "]", "4300 digits"),
        ("1e999", "too large"),
        ("[-1E400]", "too large"),
        ("1" * 400 + ".0", "too large"),
    ],
)
def test_json_that_cannot_be_kept(text: str, message: str) -> None:
    with pytest.raises(BadJson) as caught:
        decode(text)
    assert caught.value.fault == "not_storable"
    assert message in caught.value.message


def test_escaped_pairs_are_one_character() -> None:
    assert decode('"\\ud83d\\ude00"') == "😀"
    assert decode('"😀é"') == "😀é"


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (1, 1.0),
        (0, -0.0),
        (10**22, 1e22),
        ({"a": 1, "b": [2]}, {"b": [2.0], "a": 1}),
        ([], ()),
        ("é", "é"),
    ],
)
def test_same(a: object, b: object) -> None:
    assert jsonvalue.same(a, b)
    assert jsonvalue.fingerprint(a) == jsonvalue.fingerprint(b)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (1, True),
        (0, False),
        (0, None),
        (1, "1"),
        ([1], [True]),
        ([1, 2], [2, 1]),
        ([1], [1, 1]),
        ({"a": 1}, {"a": 2}),
        ({"a": 1}, {"b": 1}),
        ({"a": 1}, {"a": 1, "b": 1}),
        ([], {}),
        ("", []),
        (2**64, 2**64 + 1),
        (2**53 + 1, float(2**53)),
        ("e\u0301", "é"),
    ],
)
def test_not_the_same(a: object, b: object) -> None:
    assert not jsonvalue.same(a, b)
    assert not jsonvalue.same(b, a)
    assert jsonvalue.fingerprint(a) != jsonvalue.fingerprint(b)


@given(values, values)
def test_fingerprints_agree_with_sameness(a: Any, b: Any) -> None:
    equal = jsonvalue.fingerprint(a) == jsonvalue.fingerprint(b)
    assert equal is jsonvalue.same(a, b)
    assert jsonvalue.same(a, decode(encode(a)))
