"""Signatures: what is right, and everything that is not."""

from __future__ import annotations

import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.webhooks import WINDOW_S, Fault, Scheme, check, sign

NOW = 1_800_000_000.0
BODY = b'{"n": 1}'


def headers(secret: str = "s", timestamp: str = "1800000000", body: bytes = BODY) -> dict[str, str]:
    return {
        "millrace-timestamp": timestamp,
        "millrace-signature": f"v1={sign(secret, timestamp, body)}",
    }


def test_what_a_sender_computes_is_what_is_expected() -> None:
    mac = hmac.new(b"s", b"1800000000." + BODY, hashlib.sha256).hexdigest()
    assert headers()["millrace-signature"] == f"v1={mac}"
    assert check(Scheme.MILLRACE, ["s"], headers(), BODY, now=NOW) is None
    assert check(Scheme.MILLRACE, ["new", "s"], headers(), BODY, now=NOW) is None
    both = {**headers("x"), "millrace-signature": "v1=00, " + headers()["millrace-signature"]}
    assert check(Scheme.MILLRACE, ["s"], both, BODY, now=NOW) is None


@pytest.mark.parametrize(
    ("more", "body", "fault"),
    [
        ({}, b"{}", Fault.SIGNATURE),
        ({"millrace-timestamp": "1800000001"}, BODY, Fault.SIGNATURE),
        ({"millrace-signature": ""}, BODY, Fault.SIGNATURE),
        ({"millrace-signature": "v1=é"}, BODY, Fault.SIGNATURE),
        ({"millrace-signature": "v1=" + "0" * 64}, BODY, Fault.SIGNATURE),
        (headers("other"), BODY, Fault.SIGNATURE),
        (headers(timestamp="soon"), BODY, Fault.TIMESTAMP),
        (headers(timestamp="٣"), BODY, Fault.TIMESTAMP),
        (headers(timestamp="1" * 13), BODY, Fault.TIMESTAMP),
        (headers(timestamp=""), BODY, Fault.TIMESTAMP),
    ],
)
def test_what_is_not_right(more: dict[str, str], body: bytes, fault: Fault) -> None:
    found = check(Scheme.MILLRACE, ["s"], {**headers(), **more}, body, now=NOW)
    assert found is fault


@pytest.mark.parametrize("age", [-WINDOW_S - 1, -WINDOW_S, 0, WINDOW_S, WINDOW_S + 1])
def test_the_window(age: int) -> None:
    found = check(Scheme.MILLRACE, ["s"], headers(), BODY, now=NOW + age)
    assert found is (None if abs(age) <= WINDOW_S else Fault.TIMESTAMP)


def test_too_many_signatures_are_not_all_looked_at() -> None:
    right = headers()["millrace-signature"]
    wrong = "v1=0"
    given_six = {**headers(), "millrace-signature": ",".join([*([wrong] * 5), right])}
    assert check(Scheme.MILLRACE, ["s"], given_six, BODY, now=NOW) is Fault.SIGNATURE


def test_as_github_signs() -> None:
    # the example of GitHub's documentation
    sent = {
        "x-hub-signature-256": "sha256="
        "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    }
    secret, body = "It's a Secret to Everybody", b"Hello, World!"
    assert check(Scheme.GITHUB, [secret], sent, body, now=NOW) is None
    assert check(Scheme.GITHUB, ["x"], sent, body, now=NOW) is Fault.SIGNATURE
    assert check(Scheme.GITHUB, [secret], {}, body, now=NOW) is Fault.SIGNATURE


@given(st.text(max_size=20), st.binary(max_size=50), st.binary(max_size=50))
def test_a_signature_is_of_one_body_alone(secret: str, body: bytes, other: bytes) -> None:
    sent = headers(secret, body=body)
    found = check(Scheme.MILLRACE, [secret], sent, other, now=NOW)
    assert (found is None) == (body == other)
