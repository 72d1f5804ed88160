"""Which steps are undone, and in which order: said by definition, and true of every order of ends."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain import graph
from orchestrator.domain.definition import HandlerInfo, parse_definition
from orchestrator.domain.retries import RetryPolicy
from orchestrator.domain.undo import is_undoable, may_undo


@st.composite
def dags(draw: st.DrawFn) -> dict[int, tuple[int, ...]]:
    """Nodes whose parents have smaller numbers."""
    size = draw(st.integers(1, 9))
    return {
        node: tuple(sorted(draw(st.sets(st.integers(0, node - 1), max_size=3)))) if node else ()
        for node in range(size)
    }


@given(st.data())
def test_undos_run_after_those_of_every_descendant_and_as_soon_as_they_may(
    data: st.DataObject,
) -> None:
    parents = data.draw(dags())
    undoable = data.draw(st.sets(st.sampled_from(sorted(parents))))
    ended: list[int] = []
    while ready := may_undo(parents, undoable, ended):
        for node in undoable - set(ended) - ready:
            assert any(node in graph.ancestors(parents, other) for other in undoable - set(ended))
        ended.append(data.draw(st.sampled_from(sorted(ready))))
    assert set(ended) == undoable, "every undo gets its turn"
    for place, node in enumerate(ended):
        later = set(ended[place + 1 :])
        assert not any(node in graph.ancestors(parents, other) for other in later)


def test_a_chain_is_undone_backwards_and_branches_side_by_side() -> None:
    chain = {"a": (), "b": ("a",), "c": ("b",), "d": ("a",)}
    assert may_undo(chain, {"a", "c", "d"}, ()) == {"c", "d"}
    assert may_undo(chain, {"a", "c", "d"}, {"c"}) == {"d"}
    assert may_undo(chain, {"a", "c", "d"}, {"c", "d"}) == {"a"}


@pytest.mark.parametrize(
    ("state", "more", "expected"),
    [
        ("succeeded", {}, True),
        ("succeeded", {"handled": True, "code": "error"}, False),
        ("failed", {"code": "error"}, False),
        ("failed", {"code": "aborted"}, False),
        ("failed", {"code": "timeout"}, True),
        ("failed", {"code": "heartbeat_timeout"}, True),
        ("failed", {"code": "lost"}, True),
        ("failed", {"code": "lost", "handled": True}, False),
        ("cancelled", {"code": "cancelled"}, True),
        ("cancelled", {"code": "upstream"}, True),
        ("cancelled", {"code": "upstream", "started": False}, False),
        ("failed", {"code": "upstream"}, False),
        ("cancelled", {"code": None}, True),
        ("cancelled", {"code": "error"}, False),
        ("cancelled", {"code": "error", "suspect": True}, True),
        ("cancelled", {"code": None, "started": False}, False),
        ("skipped", {}, False),
        ("skipped", {"code": "cancelled"}, False),
        ("running", {}, False),
    ],
)
def test_what_is_undone(state: str, more: dict[str, object], expected: bool) -> None:
    facts = {"handled": False, "started": True, "suspect": False, "code": None, **more}
    assert is_undoable(state, **facts) is expected  # type: ignore[arg-type]


def test_compensations_and_undos_have_queues_timeouts_and_policies_of_their_own() -> None:
    document: dict[str, object] = {
        "name": "w",
        "steps": [
            {"name": "a", "handler": "h"},
            {
                "name": "b",
                "handler": "h",
                "retry": {"max_attempts": 9},
                "compensate": {"handler": "h", "args": {"x": "${{ steps.a.output }}"}},
                "undo": {"handler": "slow", "args": {"x": "${{ [output, secrets.KEY] }}"}},
            },
            {
                "name": "c",
                "handler": "h",
                "compensate": {"handler": "h", "retry": {}},
                "undo": {"handler": "h", "retry": {"delay": 0}},
            },
        ],
    }
    slow = HandlerInfo("slow", queue="cpu", timeout=timedelta(seconds=9))
    infos = {"h": HandlerInfo("h"), "slow": slow}
    _, b, c = parse_definition(document, handlers=infos.get).steps
    assert b.compensate is not None
    assert b.undo is not None
    assert (b.compensate.queue, b.compensate.timeout) == ("io", timedelta(hours=1))
    assert (b.compensate.retry, b.compensate.needs) == (RetryPolicy(), (0,))
    assert b.depends_on == ("a",), "a step that they refer to comes before"
    assert b.needs == ()
    assert (b.undo.queue, b.undo.timeout) == ("cpu", timedelta(seconds=9))
    assert (b.undo.retry, b.undo.secrets) == (RetryPolicy(max_attempts=5), frozenset({"KEY"}))
    assert c.compensate is not None
    assert c.undo is not None
    assert c.compensate.retry.max_attempts == 3
    assert (c.undo.retry.max_attempts, c.undo.retry.delay) == (5, timedelta(0))
