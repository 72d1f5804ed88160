"""Trace Context: what is one, and which spans things are."""

from __future__ import annotations

from uuid import UUID

import pytest

from orchestrator.domain import traces
from orchestrator.domain.traces import Context, parse

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
RUN = UUID("01a1fd1e-5ad7-7414-ae22-083b57160791")


@pytest.mark.parametrize(
    ("text", "sampled"),
    [
        (f"00-{TRACE}-{SPAN}-01", True),
        (f" 00-{TRACE}-{SPAN}-00 ", False),
        (f"00-{TRACE}-{SPAN}-03", True),
        (f"01-{TRACE}-{SPAN}-01-what-a-later-version-adds", True),
    ],
)
def test_a_place_in_a_trace(text: str, sampled: bool) -> None:
    assert parse(text) == Context(TRACE, SPAN, sampled)
    assert str(Context(TRACE, SPAN, sampled)) == f"00-{TRACE}-{SPAN}-0{int(sampled)}"


@pytest.mark.parametrize(
    "text",
    [
        None, "", "x", f"ff-{TRACE}-{SPAN}-01", f"00-{'0' * 32}-{SPAN}-01", f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{SPAN}-01", f"00-{TRACE}-{SPAN}-01-more", f"00-{TRACE}-{SPAN}",
        f"01-{TRACE}-{SPAN}-01-" + "x" * 300,
    ],
)  # fmt: skip
def test_what_is_none(text: str | None) -> None:
    assert parse(text) is None


def test_spans_are_known_by_what_they_are_about() -> None:
    ids = {
        traces.run_span(RUN), traces.step_span(RUN, 0, 0), traces.step_span(RUN, 0, 1),
        traces.attempt_span(RUN, 0, 0, 1), traces.attempt_span(RUN, 0, 0, 2),
    }  # fmt: skip
    assert len(ids) == 5
    assert all(len(one) == 16 and int(one, 16) for one in ids)
    found = traces.root(RUN, sampled=True)
    assert found == Context(RUN.hex, traces.run_span(RUN), sampled=True)
    assert parse(str(found)) == found
