"""Layered layout of a directed acyclic graph, for drawing from left to right.

Longest path for the layers, dummy nodes for edges that cross layers, barycentre sweeps for the order
in a layer, and positions pulled towards the neighbours' mean.  After Sugiyama, Tagawa, Toda,
"Methods for Visual Understanding of Hierarchical System Structures", 1981."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

SWEEPS = 6
RELAXATIONS = 12


@dataclass(frozen=True, slots=True)
class Layout:
    """Where everything goes, in units of rows and layers.

    `layers[n]` is node n's column, `rows[n]` its place in it (fractions occur, from 0 on);
    `routes[i]` are the (layer, row) points that edge i passes through between its ends;
    `depth` and `height` are the numbers of columns and rows."""

    layers: tuple[int, ...]
    rows: tuple[float, ...]
    routes: tuple[tuple[tuple[int, float], ...], ...]
    depth: int
    height: float


def layout(count: int, edges: Sequence[tuple[int, int]]) -> Layout:
    """Place `count` nodes, numbered from 0, with `edges` (from, to) that form no cycle."""
    if count == 0:
        return Layout((), (), (), 0, 0.0)
    layers = longest_paths(count, edges)
    chains = _chains(count, layers, edges)
    total = count + sum(len(chain) for chain in chains)
    columns: list[list[int]] = [[] for _ in range(max(layers) + 1)]
    for node, layer in enumerate(layers):
        columns[layer].append(node)
    before: list[list[int]] = [[] for _ in range(total)]
    after: list[list[int]] = [[] for _ in range(total)]
    for (source, target), chain in zip(edges, chains, strict=True):
        for nr, dummy in enumerate(chain):
            columns[layers[source] + 1 + nr].append(dummy)
        path = [source, *chain, target]
        for left, right in pairwise(path):
            after[left].append(right)
            before[right].append(left)
    _sweep(columns, before, after)
    rows = _rows(columns, before, after, total)
    routes = tuple(
        tuple((layers[source] + 1 + nr, rows[dummy]) for nr, dummy in enumerate(chain))
        for (source, _), chain in zip(edges, chains, strict=True)
    )
    return Layout(tuple(layers), tuple(rows[:count]), routes, len(columns), max(rows) + 1)


def longest_paths(count: int, edges: Sequence[tuple[int, int]]) -> list[int]:
    """Each node's layer: the number of edges on the longest path that leads to it."""
    children: list[list[int]] = [[] for _ in range(count)]
    left = [0] * count
    for source, target in edges:
        children[source].append(target)
        left[target] += 1
    layers = [0] * count
    ready = [node for node in range(count) if not left[node]]
    for node in ready:
        for child in children[node]:
            layers[child] = max(layers[child], layers[node] + 1)
            left[child] -= 1
            if not left[child]:
                ready.append(child)
    return layers


def critical_path(
    durations: Sequence[float], edges: Sequence[tuple[int, int]]
) -> frozenset[tuple[int, int]]:
    """The edges of the chain of nodes whose `durations` add up to the most."""
    parents: list[list[int]] = [[] for _ in durations]
    for source, target in edges:
        parents[target].append(source)
    layers = longest_paths(len(durations), edges)
    total = [0.0] * len(durations)
    best: list[int | None] = [None] * len(durations)
    for node in sorted(range(len(durations)), key=layers.__getitem__):
        if parents[node]:
            best[node] = max(parents[node], key=total.__getitem__)
        total[node] = durations[node] + max((total[parent] for parent in parents[node]), default=0)
    path = set()
    node_: int | None = max(range(len(durations)), key=total.__getitem__) if durations else None
    while node_ is not None and (parent := best[node_]) is not None:
        path.add((parent, node_))
        node_ = parent
    return frozenset(path)


def _chains(count: int, layers: Sequence[int], edges: Sequence[tuple[int, int]]) -> list[list[int]]:
    """For each edge the dummy nodes in the layers that it crosses."""
    chains = []
    fresh = count
    for source, target in edges:
        crossed = layers[target] - layers[source] - 1
        chains.append(list(range(fresh, fresh + crossed)))
        fresh += crossed
    return chains


def _sweep(columns: list[list[int]], before: list[list[int]], after: list[list[int]]) -> None:
    """Order each layer by the mean place of its neighbours, to and fro: fewer edges cross."""
    place: dict[int, int] = {}
    for column in columns:
        place.update((node, nr) for nr, node in enumerate(column))
    for turn in range(SWEEPS):
        forward = turn % 2 == 0
        neighbours = before if forward else after
        for column in columns if forward else reversed(columns):
            keys = {
                node: sum(place[other] for other in neighbours[node]) / len(neighbours[node])
                if neighbours[node]
                else place[node]
                for node in column
            }
            column.sort(key=keys.__getitem__)
            place.update((node, nr) for nr, node in enumerate(column))


def _rows(
    columns: list[list[int]], before: list[list[int]], after: list[list[int]], total: int
) -> list[float]:
    """Places that keep each layer's order, at least 1 apart, near the mean of the neighbours."""
    rows = [0.0] * total
    tallest = max(len(column) for column in columns)
    for column in columns:
        offset = (tallest - len(column)) / 2
        for nr, node in enumerate(column):
            rows[node] = nr + offset
    for turn in range(RELAXATIONS):
        for column in columns if turn % 2 == 0 else reversed(columns):
            wished = []
            for node in column:
                near = before[node] + after[node]
                wished.append(sum(rows[n] for n in near) / len(near) if near else rows[node])
            for node, row in zip(column, _apart(wished), strict=True):
                rows[node] = row
    lowest = min(rows)
    return [round(row - lowest, 3) for row in rows]


def _apart(wished: Sequence[float]) -> list[float]:
    """The places nearest to `wished`, in their order and at least 1 apart (pool adjacent violators)."""
    blocks: list[list[float]] = []  # [sum of (wish - offset), count]
    for nr, wish in enumerate(wished):
        blocks.append([wish - nr, 1])
        while len(blocks) > 1 and blocks[-2][0] / blocks[-2][1] > blocks[-1][0] / blocks[-1][1]:
            last = blocks.pop()
            blocks[-1] = [blocks[-1][0] + last[0], blocks[-1][1] + last[1]]
    placed: list[float] = []
    for sum_, count in blocks:
        first = len(placed)
        placed.extend(sum_ / count + first + nr for nr in range(int(count)))
    return placed
