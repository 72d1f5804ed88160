"""A graph as boxes and curves: the layout's rows and layers become coordinates.

Past `GROUP_ABOVE` nodes a layer is one box, opened on demand: `?layer=n`."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from types import MappingProxyType
from urllib.parse import urlencode

from dashboard import words
from dashboard.graph_layout import Layout, critical_path, layout, longest_paths

GROUP_ABOVE = 300
MOST_BANDS = 100
BOX_WIDTH = 188
BOX_HEIGHT = 48
GAP_X = 64
GAP_Y = 20
MARGIN = 24
SIZES = (("is-flat", 170), ("is-short", 320), ("is-middle", 560))
"""How much room a graph gets, by its height."""


@dataclass(frozen=True, slots=True)
class Node:
    """What is known of a step: `took_s` is None until it has started; `share` of a map that is done."""

    name: str
    state: str
    note: str = ""
    took_s: float | None = None
    share: float | None = None


@dataclass(frozen=True, slots=True)
class Box:
    """A node as it is drawn.  `href` is where pressing it leads, "" for nowhere; `ring`: a map's progress,
    in percent."""

    name: str
    state: str
    word: str
    icon: str
    href: str
    x: float
    y: float
    ring: int | None = None


@dataclass(frozen=True, slots=True)
class Curve:
    """An edge as it is drawn."""

    path: str
    kind: str


@dataclass(frozen=True, slots=True)
class Picture:
    """A graph as it is drawn; `opened`: one layer of a large one, less its `hidden` nodes."""

    boxes: tuple[Box, ...]
    curves: tuple[Curve, ...]
    width: float
    height: float
    critical: bool
    summary: str
    size: str
    opened: bool = False
    hidden: int = 0


@lru_cache(maxsize=64)
def _layout(count: int, edges: tuple[tuple[int, int], ...]) -> Layout:
    """Layouts are kept: a version's graph never changes while its states do."""
    return layout(count, edges)


@lru_cache(maxsize=64)
def _bands(count: int, edges: tuple[tuple[int, int], ...]) -> tuple[tuple[int, ...], int]:
    """Each node's band, and how many layers a band is: more than 1 past `MOST_BANDS` layers."""
    layers = longest_paths(count, edges)
    thick = math.ceil((max(layers) + 1) / MOST_BANDS)
    return tuple(layer // thick for layer in layers), thick


def picture(
    nodes: Sequence[Node],
    edges: Sequence[tuple[int, int]],
    *,
    layer: int | None = None,
    kept: Mapping[str, str] = MappingProxyType({}),
    steps_listed: bool = True,
) -> Picture:
    """Draw `nodes` with `edges` between their positions; large graphs by layer, or one `layer`.

    Pressing a box keeps what `kept` says of the address's query.  A step leads to its row in the page's
    list of steps, where there is one."""
    summary = _summary(nodes)
    if len(nodes) <= GROUP_ABOVE:
        critical = _critical(nodes, edges)
        hrefs = [_step_href(node.name, kept) if steps_listed else "" for node in nodes]
        return _draw(nodes, hrefs, edges, critical, summary)
    bands, thick = _bands(len(nodes), tuple(edges))
    members: list[list[int]] = [[] for _ in range(max(bands) + 1)]
    for at, band in enumerate(bands):
        members[band].append(at)
    if layer is not None and 0 <= layer < len(members):
        chosen = [nodes[at] for at in members[layer][:GROUP_ABOVE]]
        places = {at: nr for nr, at in enumerate(members[layer][:GROUP_ABOVE])}
        inner = [(places[a], places[b]) for a, b in edges if a in places and b in places]
        here = {**kept, "layer": str(layer)}
        hrefs = [_step_href(node.name, here) if steps_listed else "" for node in chosen]
        drawn = _draw(chosen, hrefs, inner, frozenset(), summary)
        return replace(drawn, opened=True, hidden=len(members[layer]) - len(chosen))
    groups = [_group([nodes[at] for at in found], nr, thick) for nr, found in enumerate(members)]
    between = sorted({(bands[a], bands[b]) for a, b in edges if bands[b] == bands[a] + 1})
    hrefs = [f"?{urlencode({**kept, 'layer': nr})}" for nr in range(len(groups))]
    return _draw(groups, hrefs, between, frozenset(), summary)


def _step_href(name: str, kept: Mapping[str, str]) -> str:
    """A step's row.  What narrows the list may leave it out, so that the step is asked for too."""
    asked = f"?{urlencode({**kept, 'step': name})}" if kept else ""
    return f"{asked}#step-{name}"


def _draw(
    nodes: Sequence[Node],
    hrefs: Sequence[str],
    edges: Sequence[tuple[int, int]],
    critical: frozenset[tuple[int, int]],
    summary: str,
) -> Picture:
    placed = _layout(len(nodes), tuple(edges))
    boxes = tuple(
        Box(
            name=node.name,
            state=node.state,
            word=node.note or node.state,
            icon=words.STATE_ICONS.get(node.state, "clock"),
            href=href,
            x=_x(at),
            y=_y(row),
            ring=None if node.share is None else round(100 * node.share),
        )
        for node, href, at, row in zip(nodes, hrefs, placed.layers, placed.rows, strict=True)
    )
    curves = tuple(
        Curve(
            _curve(boxes[source], boxes[target], route),
            _kind(nodes[source].state, nodes[target].state)
            + (" is-critical" if (source, target) in critical else ""),
        )
        for (source, target), route in zip(edges, placed.routes, strict=True)
    )
    width = max(placed.depth, 1) * (BOX_WIDTH + GAP_X) - GAP_X + 2 * MARGIN
    height = max(placed.height, 1) * (BOX_HEIGHT + GAP_Y) - GAP_Y + 2 * MARGIN
    size = next((word for word, most in SIZES if height <= most), "is-tall")
    return Picture(
        boxes,
        curves,
        width,
        round(height, 1),
        0 < len(critical) < len(edges),
        summary,
        size,
    )


def _x(layer: int) -> float:
    return MARGIN + layer * (BOX_WIDTH + GAP_X)


def _y(row: float) -> float:
    return round(MARGIN + row * (BOX_HEIGHT + GAP_Y), 1)


def _curve(source: Box, target: Box, route: Sequence[tuple[int, float]]) -> str:
    """A smooth path from the right side of one box to the left side of another."""
    half = BOX_HEIGHT / 2
    x, y = source.x + BOX_WIDTH, source.y + half
    path = f"M{x} {y}"
    stops = [(_x(layer), _y(row) + half, _x(layer) + BOX_WIDTH) for layer, row in route]
    for left, at, right in [*stops, (target.x - 1, target.y + half, 0.0)]:
        middle = (x + left) / 2
        path += f"C{middle} {y} {middle} {at} {left} {at}"
        x, y = left, at
        if right:
            path += f"H{right}"
            x = right
    return f"{path}m-6 -4l6 4l-6 4"


def _kind(source: str, target: str) -> str:
    if target == "running" and source == "succeeded":
        return "is-flowing"
    return "is-done" if source == target == "succeeded" else ""


def _critical(
    nodes: Sequence[Node], edges: Sequence[tuple[int, int]]
) -> frozenset[tuple[int, int]]:
    """The chain that made the run as long as it was; nothing before all of it has ended."""
    if any(node.took_s is None for node in nodes):
        return frozenset()
    return critical_path([node.took_s or 0.0 for node in nodes], edges)


def _group(nodes: Sequence[Node], band: int, thick: int) -> Node:
    counts: Mapping[str, int] = Counter(node.state for node in nodes)
    first = band * thick + 1
    title = f"layer {first}" if thick == 1 else f"layers {first}–{first + thick - 1}"
    if counts["idle"]:
        return Node(title, "idle", f"{len(nodes):,} step{'' if len(nodes) == 1 else 's'}")
    worst = (
        "failed",
        "running",
        "waiting",
        "ready",
        "cancelled",
        "blocked",
        "skipped",
        "succeeded",
    )
    state = next((one for one in worst if counts.get(one)), "blocked")
    return Node(title, state, f"{counts[state]:,} of {len(nodes):,} {state}")


def _summary(nodes: Sequence[Node]) -> str:
    counts = Counter(node.state for node in nodes)
    told = ", ".join(f"{counts[state]:,} {state}" for state in words.STEP_STATES if counts[state])
    return f"{len(nodes):,} step{'' if len(nodes) == 1 else 's'}" + (f": {told}" if told else "")
