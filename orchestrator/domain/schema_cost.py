"""How much work a JSON Schema may make, found before it is used.

`jsonschema_rs` has no budget: thirty definitions that each refer twice to the next take 2**30
evaluations, a schema that refers to itself twice for the same child takes 2**depth.  So the worst
case is counted here, on the schema's graph: of the evaluations on one path from the root of an
instance down to a leaf, by the instance's depth.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote

from orchestrator.domain.errors import pointer
from orchestrator.domain.graph import topological_order
from orchestrator.domain.jsonvalue import DEEPEST

MOST_SUBSCHEMAS = 5_000
MOST_PER_PATH = 1_000_000

_IN_PLACE = ("not", "if", "then", "else")
_IN_PLACE_LISTS = ("allOf", "anyOf", "oneOf")
_REFERENCES = ("$ref", "$dynamicRef")
_BELOW = (
    "items",
    "contains",
    "additionalProperties",
    "propertyNames",
    "unevaluatedItems",
    "unevaluatedProperties",
)
_BELOW_MAPS = ("properties", "patternProperties")
_ELSEWHERE_MAPS = ("$defs", "definitions", "dependentSchemas")


class BadSchema(ValueError):
    """A schema that cannot be used.  `pointer` (JSON Pointer) says where in it."""

    def __init__(self, message: str, pointer: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.pointer = pointer


@dataclass(slots=True)
class _Node:
    """One subschema, by the pointers of those that it applies, to the same value or to parts."""

    same: list[str] = field(default_factory=list)
    below: dict[str, list[str]] = field(default_factory=dict)
    unevaluated: bool = False

    def dearest_part(self, costs: Mapping[str, int]) -> int:
        """The cost of one part of the value, where a subschema for a part costs what `costs` says.

        Of the subschemas under distinct names or positions only one applies to a part.
        """
        dearest = {
            keyword: max(costs[place] for place in places) for keyword, places in self.below.items()
        }
        get = dearest.get
        patterns = sum(costs[place] for place in self.below.get("patternProperties", ()))
        member = max(get("properties", 0) + patterns, get("additionalProperties", 0))
        member += get("unevaluatedProperties", 0) + get("propertyNames", 0)
        item = max(get("items", 0), get("prefixItems", 0))
        return max(member, item + get("contains", 0) + get("unevaluatedItems", 0))


@dataclass(frozen=True, slots=True)
class Cost:
    """The worst case of one path by depth of the instance (from 0).

    Where `by_depth` ends before the deepest JSON, deeper instances take more than `MOST_PER_PATH`.
    `has_alternatives` says whether an error may come with the errors of several alternatives.
    """

    by_depth: tuple[int, ...]
    has_alternatives: bool


def estimate(schema: Mapping[str, object]) -> Cost:
    """The worst case of validating against `schema`.

    Raises BadSchema for a reference that is not to a place in the schema itself, for one that leads
    in a circle without going into the value, and for a schema that is too large or always too
    costly.
    """
    graph = _Graph(schema)
    nodes = graph.nodes
    try:
        order = topological_order({place: node.same for place, node in nodes.items()})
    except ValueError:
        raise BadSchema("the schema refers to itself without going into the value") from None
    found: list[int] = []
    before = dict.fromkeys(nodes, 0)
    for _ in range(DEEPEST + 1):
        now: dict[str, int] = {}
        for place in order:
            node = nodes[place]
            same = sum(now[other] for other in node.same)
            # Asking what is unevaluated goes through the same subschemas once more.
            now[place] = 1 + same * (2 if node.unevaluated else 1)
            if node.below:
                now[place] += node.dearest_part(before)
        if now[""] > MOST_PER_PATH:
            break
        found.append(now[""])
        if now == before:
            found.extend(found[-1:] * (DEEPEST + 1 - len(found)))
            break
        before = now
    if len(found) < 2:
        raise BadSchema("the schema takes too long to validate against")
    return Cost(tuple(found), graph.has_alternatives)


class _Graph:
    """Reads the subschemas that can be reached from the root, by pointer."""

    def __init__(self, schema: Mapping[str, object]) -> None:
        self.schema = schema
        self.nodes: dict[str, _Node] = {}
        self.anchors: dict[str, str] = {}
        self.references: list[tuple[_Node, str, str]] = []
        self.has_alternatives = False
        self._left: list[tuple[str, object]] = [("", schema)]
        self._read_all()
        while self.references:
            node, place, reference = self.references.pop()
            target = self._resolve(reference, place)
            node.same.append(target)
            self._read_all()

    def _read_all(self) -> None:
        while self._left:
            place, schema = self._left.pop()
            if place not in self.nodes:
                self.nodes[place] = self._read(place, schema)
                if len(self.nodes) > MOST_SUBSCHEMAS:
                    raise BadSchema(f"a schema has at most {MOST_SUBSCHEMAS:,} parts")

    def _read(self, place: str, schema: object) -> _Node:
        node = _Node()
        if not isinstance(schema, Mapping):
            return node
        if "$id" in schema and place:
            raise BadSchema("$id is allowed at the root only", f"{place}/$id")
        for keyword in ("$anchor", "$dynamicAnchor"):
            if isinstance(anchor := schema.get(keyword), str):
                self.anchors[anchor] = place
        for keyword in _REFERENCES:
            if isinstance(reference := schema.get(keyword), str):
                self.references.append((node, f"{place}/{keyword}", reference))
        for keyword, below, same in _parts(schema):
            self._left.append((place + below, _at(schema, below)))
            if same:
                node.same.append(place + below)
            elif keyword not in _ELSEWHERE_MAPS:
                node.below.setdefault(keyword, []).append(place + below)
        self.has_alternatives |= "anyOf" in schema or "oneOf" in schema
        node.unevaluated = "unevaluatedItems" in schema or "unevaluatedProperties" in schema
        return node

    def _resolve(self, reference: str, place: str) -> str:
        """The pointer to what `reference` names; reads it if nothing has led there yet."""
        if not reference.startswith("#"):
            raise BadSchema("only references within the schema (#…) are allowed", place)
        target = unquote(reference[1:])
        if target and not target.startswith("/"):
            if target not in self.anchors:
                raise BadSchema(f"there is no anchor {target}", place)
            return self.anchors[target]
        try:
            found = _at(self.schema, target)
        except (KeyError, IndexError, TypeError, ValueError):
            raise BadSchema(f"there is nothing at {reference}", place) from None
        self._left.append((target, found))
        return target


def _at(document: object, place: str) -> object:
    """What stands at a JSON Pointer; raises KeyError, IndexError, TypeError or ValueError."""
    for part in place.split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        document = document[int(key) if isinstance(document, list) else key]  # type: ignore[index]
    return document


def _parts(schema: Mapping[str, object]) -> Iterator[tuple[str, str, bool]]:
    """Keyword, relative pointer and "applied to the same value" of each direct subschema."""
    for keyword in (*_IN_PLACE, *_BELOW):
        if keyword in schema:
            yield keyword, pointer(keyword), keyword in _IN_PLACE
    for keyword in (*_IN_PLACE_LISTS, "prefixItems"):
        listed = schema.get(keyword)
        if isinstance(listed, list):
            for index in range(len(listed)):
                yield keyword, pointer(keyword, index), keyword in _IN_PLACE_LISTS
    for keyword in (*_BELOW_MAPS, *_ELSEWHERE_MAPS):
        named = schema.get(keyword)
        if isinstance(named, Mapping):
            for name in named:
                yield keyword, pointer(keyword, name), keyword == "dependentSchemas"
