"""Graphs given as each node's parents; all linear in nodes and edges, none recursive.

Every parent must itself be a key.
"""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import TypeVar

Node = TypeVar("Node", bound=Hashable)


def find_cycle(parents: Mapping[Node, Sequence[Node]]) -> tuple[Node, ...] | None:
    """One cycle as a path from parent to child whose first and last are the same, or None."""
    return next(find_cycles(parents), None)


def find_cycles(parents: Mapping[Node, Sequence[Node]]) -> Iterator[tuple[Node, ...]]:
    """Cycles that share no node, so that each knot is told once; none only if there are none.

    A depth-first search along the parents.  An edge to a node that is still on the path closes a
    cycle; it is told unless one of its nodes is in a cycle already told, which `told[i]` (the
    highest such position at or below i on the path) says in one look.
    """
    done: set[Node] = set()
    for root in parents:
        if root in done:
            continue
        path, position, told = [root], {root: 0}, [-1]
        branches = [iter(parents[root])]
        while path:
            parent = next(branches[-1], None)
            if parent is None:
                branches.pop()
                told.pop()
                node = path.pop()
                del position[node]
                done.add(node)
            elif parent in position:
                start = position[parent]
                if told[-1] < start:
                    yield (parent, *reversed(path[start:]))
                    told[start:] = range(start, len(path))
            elif parent not in done:
                position[parent] = len(path)
                path.append(parent)
                told.append(told[-1])
                branches.append(iter(parents[parent]))


def children(parents: Mapping[Node, Sequence[Node]]) -> dict[Node, list[Node]]:
    """The edges turned round: each node's children, in the order of `parents`."""
    found: dict[Node, list[Node]] = {node: [] for node in parents}
    for node, above in parents.items():
        for parent in above:
            found[parent].append(node)
    return found


def topological_order(parents: Mapping[Node, Sequence[Node]]) -> tuple[Node, ...]:
    """Every node after its parents, by layers, otherwise in the order of `parents`.

    Kahn's algorithm.  Raises ValueError if there is a cycle.
    """
    below = children(parents)
    waiting = {node: len(above) for node, above in parents.items()}
    order = [node for node, count in waiting.items() if count == 0]
    for node in order:
        for child in below[node]:
            waiting[child] -= 1
            if waiting[child] == 0:
                order.append(child)
    if len(order) < len(parents):
        raise ValueError("the graph has a cycle")
    return tuple(order)


def depths(parents: Mapping[Node, Sequence[Node]]) -> dict[Node, int]:
    """Of each node, the number of edges on the longest path from a root; roots are at 0."""
    depth: dict[Node, int] = {}
    for node in topological_order(parents):
        depth[node] = max((depth[parent] + 1 for parent in parents[node]), default=0)
    return depth


def leaves(parents: Mapping[Node, Sequence[Node]]) -> tuple[Node, ...]:
    """The nodes that are nobody's parent, in the order of `parents`."""
    inner = {parent for above in parents.values() for parent in above}
    return tuple(node for node in parents if node not in inner)


def ancestors(parents: Mapping[Node, Sequence[Node]], node: Node) -> frozenset[Node]:
    """Everything from which a path leads to `node`; `node` itself only if it is on a cycle."""
    found: set[Node] = set()
    left = list(parents[node])
    while left:
        parent = left.pop()
        if parent not in found:
            found.add(parent)
            left.extend(parents[parent])
    return frozenset(found)
