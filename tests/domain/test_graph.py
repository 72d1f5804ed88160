"""Graph questions, on random graphs against plain models."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain import graph

Parents = Mapping[str, Sequence[str]]
LONG = 10_000


@st.composite
def acyclic(draw: st.DrawFn) -> Parents:
    """Nodes in shuffled order; edges only from a lower number to a higher."""
    size = draw(st.integers(min_value=0, max_value=12))
    pairs = [(low, high) for high in range(size) for low in range(high)]
    edges = draw(st.lists(st.sampled_from(pairs), unique=True)) if pairs else []
    order = draw(st.permutations(range(size)))
    return {f"n{node}": [f"n{low}" for low, high in edges if high == node] for node in order}


@st.composite
def any_graph(draw: st.DrawFn) -> Parents:
    size = draw(st.integers(min_value=1, max_value=8))
    nodes = [f"n{index}" for index in range(size)]
    return {node: draw(st.lists(st.sampled_from(nodes), unique=True)) for node in nodes}


def _reachable(parents: Parents, node: str) -> set[str]:
    """What can be reached upwards, by repeating single steps until nothing is new."""
    found: set[str] = set(parents[node])
    while True:
        more = found | {above for below in found for above in parents[below]}
        if more == found:
            return found
        found = more


@given(any_graph())
def test_a_cycle_is_found_with_a_true_path(parents: Parents) -> None:
    cycles = list(graph.find_cycles(parents))
    seen: set[str] = set()
    for cycle in cycles:
        assert cycle[0] == cycle[-1]
        assert len(cycle) > 1
        for parent, child in pairwise(cycle):
            assert parent in parents[child]
        inside = set(cycle)
        assert len(inside) == len(cycle) - 1
        assert not inside & seen
        seen |= inside
    circular = any(node in _reachable(parents, node) for node in parents)
    assert bool(cycles) is circular
    assert graph.find_cycle(parents) == (cycles[0] if cycles else None)


@given(acyclic())
def test_no_cycle_is_found_where_there_is_none(parents: Parents) -> None:
    assert graph.find_cycle(parents) is None


@given(acyclic())
def test_order_has_parents_first(parents: Parents) -> None:
    order = graph.topological_order(parents)
    assert sorted(order) == sorted(parents)
    place = {node: index for index, node in enumerate(order)}
    assert all(place[up] < place[node] for node, above in parents.items() for up in above)


@given(acyclic())
def test_depth_is_the_longest_way_from_a_root(parents: Parents) -> None:
    found = graph.depths(parents)
    for node, above in parents.items():
        assert found[node] == max((found[up] + 1 for up in above), default=0)


@given(any_graph())
def test_ancestors(parents: Parents) -> None:
    for node in parents:
        assert graph.ancestors(parents, node) == _reachable(parents, node)


@given(acyclic())
def test_leaves_and_children(parents: Parents) -> None:
    below = graph.children(parents)
    assert graph.leaves(parents) == tuple(node for node in parents if not below[node])
    assert {(up, node) for up, nodes in below.items() for node in nodes} == {
        (up, node) for node, above in parents.items() for up in above
    }


def test_every_knot_is_told() -> None:
    parents = {"a": ["b"], "b": ["a", "c"], "c": ["c"], "d": ["e"], "e": ["d"], "f": ["a"]}
    assert {frozenset(cycle) for cycle in graph.find_cycles(parents)} == {
        frozenset("ab"),
        frozenset("c"),
        frozenset("de"),
    }


def test_a_circle_has_no_order() -> None:
    with pytest.raises(ValueError, match="cycle"):
        graph.topological_order({"a": ["b"], "b": ["a"]})


def test_a_long_chain_needs_no_recursion() -> None:
    chain = {f"n{index}": [f"n{index - 1}"] if index else [] for index in range(LONG)}
    assert graph.find_cycle(chain) is None
    assert graph.topological_order(chain) == tuple(chain)
    assert graph.depths(chain)[f"n{LONG - 1}"] == LONG - 1
    assert len(graph.ancestors(chain, f"n{LONG - 1}")) == LONG - 1
    assert graph.leaves(chain) == (f"n{LONG - 1}",)
    chain["n0"] = [f"n{LONG - 1}"]
    cycle = graph.find_cycle(chain)
    assert cycle is not None
    assert len(cycle) == LONG + 1
