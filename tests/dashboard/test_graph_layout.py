from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from dashboard.graph_layout import critical_path, layout, longest_paths
from dashboard.pages.graphs import GROUP_ABOVE, Node, picture

DIAMOND = [(0, 1), (0, 2), (1, 3), (2, 3)]


@st.composite
def graphs(draw: st.DrawFn) -> tuple[int, list[tuple[int, int]]]:
    count = draw(st.integers(1, 30))
    pairs = st.tuples(st.integers(0, count - 1), st.integers(0, count - 1))
    edges = {(a, b) for a, b in draw(st.lists(pairs, max_size=60)) if a < b}
    return count, sorted(edges)


def test_layers_of_a_diamond() -> None:
    placed = layout(4, DIAMOND)
    assert placed.layers == (0, 1, 1, 2)
    assert placed.depth == 3
    assert abs(placed.rows[1] - placed.rows[2]) >= 1
    assert placed.rows[0] == placed.rows[3] == sum(placed.rows[1:3]) / 2


def test_nothing_to_lay_out() -> None:
    assert layout(0, []).depth == 0


def test_a_long_edge_is_routed_between_the_boxes_that_it_passes() -> None:
    placed = layout(3, [(0, 1), (1, 2), (0, 2)])
    ((layer, row),) = placed.routes[2]
    assert layer == 1
    assert abs(row - placed.rows[1]) >= 1


def test_sweeps_undo_a_crossing() -> None:
    placed = layout(4, [(0, 3), (1, 2)])
    assert (placed.rows[0] < placed.rows[1]) == (placed.rows[3] < placed.rows[2])


@given(graphs())
def test_edges_point_right_and_boxes_never_overlap(
    graph: tuple[int, list[tuple[int, int]]],
) -> None:
    count, edges = graph
    placed = layout(count, edges)
    assert all(placed.layers[a] < placed.layers[b] for a, b in edges)
    assert min(placed.rows) >= 0
    spots: dict[int, list[float]] = {}
    for layer, row in zip(placed.layers, placed.rows, strict=True):
        spots.setdefault(layer, []).append(row)
    for route in placed.routes:
        for layer, row in route:
            spots.setdefault(layer, []).append(row)
    for rows in spots.values():
        rows.sort()
        assert all(b - a >= 0.99 for a, b in pairwise(rows))


def test_longest_paths_wait_for_the_slowest_way() -> None:
    assert longest_paths(4, [(0, 3), (0, 1), (1, 2), (2, 3)]) == [0, 1, 2, 3]


def test_the_critical_path_is_the_chain_that_took_longest() -> None:
    assert critical_path([1, 5, 2, 1], DIAMOND) == {(0, 1), (1, 3)}
    assert critical_path([], []) == frozenset()


def test_a_picture_names_states_and_the_critical_path() -> None:
    nodes = [
        Node(name, "succeeded", took_s=took)
        for name, took in zip("abcd", (1, 5, 2, 1), strict=True)
    ]
    drawn = picture(nodes, DIAMOND)
    assert drawn.summary == "4 steps: 4 succeeded"
    assert drawn.critical
    assert [curve.kind for curve in drawn.curves] == [
        "is-done is-critical",
        "is-done",
        "is-done is-critical",
        "is-done",
    ]
    assert [box.href for box in drawn.boxes] == ["#step-a", "#step-b", "#step-c", "#step-d"]


def test_a_flowing_edge_leads_to_what_runs() -> None:
    drawn = picture([Node("a", "succeeded", took_s=1), Node("b", "running")], [(0, 1)])
    assert drawn.curves[0].kind == "is-flowing"
    assert not drawn.critical


def test_a_large_graph_is_grouped_by_layer_and_opens_one() -> None:
    many = GROUP_ABOVE + 1
    nodes = [Node("root", "succeeded")] + [
        Node(f"s{nr}", "running" if nr == 7 else "ready") for nr in range(many)
    ]
    edges = [(0, nr + 1) for nr in range(many)]
    drawn = picture(nodes, edges)
    assert [box.name for box in drawn.boxes] == ["layer 1", "layer 2"]
    assert drawn.boxes[1].state == "running"
    assert drawn.boxes[1].href == "?layer=1"
    opened = picture(nodes, edges, layer=0)
    assert [box.name for box in opened.boxes] == ["root"]
    assert picture(nodes, edges, layer=99) == drawn
