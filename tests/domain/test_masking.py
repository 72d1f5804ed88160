"""A secret is found however it is written."""

from __future__ import annotations

import base64
import html
import io
import json
import sys
from urllib.parse import quote, quote_plus, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain import jsonvalue
from orchestrator.domain.expressions import ExpressionFailed, compile_template
from orchestrator.domain.masking import MASK, Mask, Masks, mask_output, opened

VALUE = 'p&ss "wörd"/\\+1<x>'


@pytest.mark.parametrize(
    "written",
    [
        VALUE,
        f"before {VALUE} behind",
        json.dumps(VALUE),
        json.dumps({"a": VALUE}, ensure_ascii=False),
        json.dumps(json.dumps(VALUE, ensure_ascii=False), ensure_ascii=False),
        repr(VALUE),
        repr({"token": VALUE}),
        html.escape(VALUE),
        quote(VALUE, safe=""),
        quote_plus(VALUE),
        urlencode({"q": VALUE}),
        quote(VALUE, safe="").lower().replace("%c3%b6", "%c3%b6"),
        base64.b64encode(VALUE.encode()).decode(),
        base64.urlsafe_b64encode(VALUE.encode()).decode(),
        *(base64.b64encode((f"{'u' * n}:" + VALUE + ":x").encode()).decode() for n in range(4)),
        VALUE.encode().hex(),
        VALUE.encode().hex().upper(),
    ],
)
def test_every_spelling_is_hidden(written: str) -> None:
    hidden = Mask([VALUE]).text(written)
    assert MASK in hidden
    assert "wörd" not in hidden
    assert "w\\u00f6rd" not in hidden
    assert base64.b64encode(VALUE.encode())[4:16].decode() not in hidden


def test_in_json_whole_texts_keys_and_numbers_are_hidden() -> None:
    mask = Mask([VALUE, "12345678"])
    told = {"a": [VALUE, f"Bearer {VALUE}"], VALUE: 1, "n": 12345678, "f": 0.12345678, "m": 1234}
    assert json.loads(mask.json(jsonvalue.encode(told))) == {
        "a": [MASK, f"Bearer {MASK}"],
        MASK: 1,
        "n": MASK,
        "f": MASK,
        "m": 1234,
    }
    inside = jsonvalue.encode({"kept": jsonvalue.encode({"n": VALUE})})
    assert "wörd" not in mask.json(inside)
    assert json.loads(json.loads(mask.json(inside))["kept"]) == {"n": MASK}


@pytest.mark.parametrize("text", ['{"a":[1,true,null]}', '"plain"', "12345678901234567890"])
def test_what_holds_no_secret_stays_as_it_is(text: str) -> None:
    assert Mask(["null", "true", '":[1,t'] if text[0] == "{" else ["secret"]).json(text) == text


def test_lines_of_a_key_are_hidden_and_its_frame_is_not() -> None:
    pem = "-----BEGIN KEY-----\nMIIEvQIBADANBg\nkqhkiG9w0BAQEF\n-----END KEY-----\n"
    hidden = Mask([pem]).text("line 2: MIIEvQIBADANBg of -----BEGIN KEY-----")
    assert hidden == f"line 2: {MASK} of -----BEGIN KEY-----"


def test_the_longer_one_first() -> None:
    assert Mask(["abcd", "abcdefgh"]).text("abcdefgh abcd") == f"{MASK} {MASK}"


def test_no_secret_no_mask() -> None:
    assert not Mask()
    assert Mask().json('"x"') == '"x"'
    assert not Mask().shows("x")
    assert Mask(["secret"]).shows(["a secret"])
    assert not Mask(["secret"]).shows(["another"])


@given(
    st.text(st.characters(codec="utf-8", exclude_characters="\0*"), min_size=4), st.text(max_size=9)
)
def test_no_json_text_shows_any_value(value: str, before: str) -> None:
    before = before.replace("\0", "").encode("utf-8", "ignore").decode()
    if len(value.strip()) < 4:
        return
    hidden = Mask([value]).json(jsonvalue.encode({"a": before + value, "b": [value]}))
    assert json.loads(hidden)["b"] == [MASK]
    assert value not in json.loads(hidden)["a"] or value in before + MASK


def test_a_missing_or_unreadable_one_is_named() -> None:
    secrets = opened({"KNOWN": "a-value"}, ["SEALED"])
    scope = {"secrets": secrets.values}
    allow = frozenset({"secrets"})

    def evaluate(text: str) -> object:
        return compile_template(text, allow=allow).evaluate(scope)

    assert evaluate("Bearer ${{ secrets.KNOWN }}") == "Bearer a-value"
    assert evaluate("${{ len(secrets['KNOWN']) }}") == 7
    for text in ("${{ secrets.OTHER }}", "${{ len(secrets.OTHER) }}"):
        with pytest.raises(ExpressionFailed, match="no secret OTHER"):
            evaluate(text)
    with pytest.raises(ExpressionFailed, match="SEALED cannot be read"):
        evaluate("${{ secrets.SEALED }}")


def test_log_lines_are_hidden_with_their_tracebacks() -> None:
    masks = Masks()
    assert masks.text("untold") == "untold"
    assert masks.of([]).text("x") == "x"
    assert masks.of(["untold"]) is masks.of(["untold"])
    for number in range(300):
        masks.of([f"value-{number}"])
    assert masks.text("value-299 value-0") == f"{MASK} value-0"


def test_what_is_printed_is_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    out, err = io.StringIO(), io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    opened({"A": "print-me-not"})
    mask_output()
    print("it is print-me-not")
    print("print-me-not", file=sys.stderr, flush=True)
    assert (out.getvalue(), err.getvalue()) == (f"it is {MASK}\n", f"{MASK}\n")


def test_what_is_too_short_hides_nothing() -> None:
    assert not Mask(["abc"])
    assert Mask(["abcd"]).text("abcd") == MASK
