from __future__ import annotations

import json
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.errors import InvalidCursor
from orchestrator.selectors import paging
from orchestrator.selectors.events import hear_newest, tenant_events_page
from orchestrator.selectors.payloads import Payload, payload, render
from tenants.actors import SYSTEM
from tenants.services import create_tenant

TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS,
    lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner),
    max_leaves=8,
)


@given(st.lists(VALUES), VALUES)
def test_payloads_are_spliced_as_they_stand(stored: list[object], beside: object) -> None:
    texts = [json.dumps(value, ensure_ascii=False) for value in stored]
    page = {"items": [{"input": Payload(text), "beside": beside} for text in texts]}
    expected = {"items": [{"input": value, "beside": beside} for value in stored]}
    assert json.loads(render(page)) == expected


def test_text_that_looks_like_a_mark_is_only_text() -> None:
    tricky = '"\\u00000"'
    assert json.loads(render([Payload("1"), "\\u00000", tricky, Payload(json.dumps(tricky))])) == [
        1,
        "\\u00000",
        tricky,
        tricky,
    ]


def test_moments_and_ids() -> None:
    at, number = datetime(2026, 1, 1, tzinfo=UTC), uuid4()
    assert json.loads(render([at, number])) == ["2026-01-01T00:00:00.000000Z", str(number)]
    with pytest.raises(TypeError):
        render(object())


def test_payload() -> None:
    assert payload(None) is None
    assert payload("[1]") == Payload("[1]")
    assert hash(Payload("1")) == hash(Payload("1"))
    assert Payload("18446744073709551616").value == 2**64
    assert "[1]" in repr(Payload("[1]"))


def test_cursors_come_back() -> None:
    at, number = datetime(2026, 1, 31, 12, 0, 0, 7, tzinfo=UTC), UUID(int=5)
    assert paging.unseal_moment("runs", paging.seal_moment("runs", at, number)) == (at, number)
    assert paging.unseal_number("steps", paging.seal_number("steps", 12)) == 12
    assert paging.unseal("workflows", paging.seal("workflows", "a-b"), 1) == ["a-b"]


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "x",
        "é",
        "=" * 600,
        "a" * 600,
        "____",
        paging.seal("steps", "1"),
        paging.seal("runs", "1"),
        paging.seal("runs", "1", "nonsense"),
        paging.seal("runs", "x", UUID(int=1).hex),
        paging.seal("runs", "9" * 40, UUID(int=1).hex),
        paging.seal("runs", "1", "2", "3"),
    ],
)
def test_bad_cursors_are_refused(cursor: str) -> None:
    with pytest.raises(InvalidCursor):
        paging.unseal_moment("runs", cursor)


@pytest.mark.parametrize("text", ["-1", "x", "", "9" * 30, "9" * 20, "²"])
def test_bad_numbers_are_refused(text: str) -> None:
    with pytest.raises(InvalidCursor):
        paging.unseal_number("steps", paging.seal("steps", text))


@pytest.mark.django_db
def test_positions_of_events_go_beyond_32_bits() -> None:
    tenant = create_tenant(slug="t", actor=SYSTEM)
    for position in (2**31 - 5_000, 2**31 - 1, 2**62):
        assert tenant_events_page(tenant=tenant, position=position).items == []
        heard = hear_newest(tenant_id=tenant.pk, position=position, at=None, limit=10)
        assert heard.events == []
