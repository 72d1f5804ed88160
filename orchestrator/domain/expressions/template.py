"""JSON values with expressions in them, compiled once and evaluated often."""

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from orchestrator.domain.errors import pointer
from orchestrator.domain.expressions.check import (
    Uses,
    check,
    check_path,
    constant_path,
    parse,
    plain_path,
)
from orchestrator.domain.expressions.evaluator import Evaluator
from orchestrator.domain.expressions.faults import BadExpression, ExpressionFailed
from orchestrator.domain.expressions.limits import LARGEST, Budget
from orchestrator.domain.expressions.paths import reader
from orchestrator.domain.expressions.scan import CLOSE, OPEN, Source, split
from orchestrator.domain.jsonvalue import NotJson, TooBig, encode

Scope = Mapping[str, object]
Evaluate = Callable[[Scope, Budget], object]

_LONGEST_SHOWN = 200
_LONGEST_CACHED = 200


@dataclass(frozen=True, slots=True, eq=False)
class Template:
    """A JSON value with expressions in it; immutable, safe to share between threads.

    `references` are the steps that its expressions name, `places` where each is first named (a JSON
    Pointer inside `value`), `roots` the roots they use (`input`, `steps`, …), `secrets` the names
    of secrets.  `is_expression` says whether the value is one text that is one expression.
    """

    value: object
    references: frozenset[str]
    places: Mapping[str, str]
    roots: frozenset[str]
    secrets: frozenset[str]
    is_constant: bool
    is_expression: bool
    _evaluate: Evaluate

    def evaluate(self, scope: Scope) -> object:
        """The value, with each expression replaced by what it says in `scope`.

        `scope` holds the roots: `{"input": …, "steps": {"a": {"output": …, "state": "succeeded"}},
        "run": {"id": …, "labels": {…}}, "tenant": {"slug": …}, "secrets": {…}, …}`.  Lists and
        objects that the template itself writes are new each time; what a path leads to is not
        copied.  Raises ExpressionFailed.
        """
        return self._evaluate(scope, Budget())


def compile_template(value: object, *, allow: frozenset[str]) -> Template:
    """`value`, any JSON, as a template; the text in it, at any depth, may hold expressions.

    Keys are taken as they are.  `allow` are the roots that may be used here.  Raises BadExpression,
    whose `all` has every fault.
    """
    compiler = _Compiler(allow)
    evaluate = compiler.compile(value, ())
    if compiler.faults:
        first = compiler.faults[0]
        first.all = tuple(compiler.faults)
        raise first
    return Template(
        value=value,
        references=frozenset(compiler.places),
        places=compiler.places,
        roots=frozenset(compiler.roots),
        secrets=frozenset(compiler.secrets),
        is_constant=not compiler.expressions,
        is_expression=isinstance(value, str) and _is_one(value),
        _evaluate=evaluate,
    )


def compile_expression(text: str, *, allow: frozenset[str]) -> Template:
    """One expression without braces; `allow` may hold any names, which the scope then gives.

    Raises BadExpression.
    """
    template = compile_template(f"{OPEN} {text} {CLOSE}", allow=allow)
    if not template.is_expression:
        raise BadExpression("not one expression")
    return template


def evaluate_condition(template: Template, scope: Scope) -> bool:
    """Whether the value of `template` in `scope` is true, in Python's sense.

    Raises ExpressionFailed.
    """
    return bool(template.evaluate(scope))


def _is_one(text: str) -> bool:
    parts = split(text)
    return len(parts) == 1 and isinstance(parts[0], Source)


class _Compiler:
    """Turns a value into a function, and collects what its expressions use and what is wrong."""

    def __init__(self, allow: frozenset[str]) -> None:
        self.allow = allow
        self.places: dict[str, str] = {}
        self.roots: set[str] = set()
        self.secrets: set[str] = set()
        self.expressions = 0
        self.faults: list[BadExpression] = []

    def compile(self, value: object, place: tuple[str | int, ...]) -> Evaluate:
        if isinstance(value, str) and OPEN in value:
            try:
                return self._text(value, place)
            except BadExpression as fault:
                # A new one: a cached expression's fault may be told at several places.
                self.faults.append(BadExpression(fault.message, pointer(*place)))
                return _constant(value)
        if isinstance(value, dict):
            pairs = [(key, self.compile(item, (*place, key))) for key, item in value.items()]
            return lambda scope, budget: {key: item(scope, budget) for key, item in pairs}
        if isinstance(value, (list, tuple)):
            items = [self.compile(item, (*place, index)) for index, item in enumerate(value)]
            return lambda scope, budget: [item(scope, budget) for item in items]
        return _constant(value)

    def _text(self, text: str, place: tuple[str | int, ...]) -> Evaluate:
        parts: list[Evaluate] = []
        for part in split(text):
            if isinstance(part, str):
                parts.append(_constant(part))
                continue
            evaluate, uses = _expression(part.text, self.allow)
            self.expressions += 1
            self.roots |= uses.roots
            self.secrets |= uses.secrets
            for name in uses.steps:
                self.places.setdefault(name, pointer(*place))
            parts.append(evaluate)
        if len(parts) == 1:
            return parts[0]
        return lambda scope, budget: _join([part(scope, budget) for part in parts])


def _constant(value: object) -> Evaluate:
    return lambda _scope, _budget: value


def _join(values: list[object]) -> str:
    """Text as it is, anything else as compact JSON."""
    pieces: list[str] = []
    size = 0
    for value in values:
        try:
            piece = value if isinstance(value, str) else encode(value, max_bytes=LARGEST)
        except (NotJson, TooBig) as error:
            raise ExpressionFailed(str(error)) from None
        size += len(piece)
        if size > LARGEST:
            raise ExpressionFailed(f"makes more than {LARGEST:,} characters")
        pieces.append(piece)
    return "".join(pieces)


def _expression(text: str, allow: frozenset[str]) -> tuple[Evaluate, Uses]:
    """One expression, without braces, and what it uses; raises BadExpression."""
    # Long ones are not kept: their trees are large, and they are seldom written twice.
    build = _cached_expression if len(text) <= _LONGEST_CACHED else _build_expression
    return build(text, allow)


def _build_expression(text: str, allow: frozenset[str]) -> tuple[Evaluate, Uses]:
    path = plain_path(text)
    if path is not None:
        return _reading(text, *path), check_path(*path, allow)
    tree = parse(text)
    uses = check(tree, allow)
    path = constant_path(tree)
    if path is not None:
        return _reading(text, *path), uses
    return _walking(text, tree), uses


_cached_expression = lru_cache(maxsize=4096)(_build_expression)


def _reading(text: str, root: str, keys: tuple[str | int, ...]) -> Evaluate:
    read = reader(text, root, keys)
    return lambda scope, _budget: read(scope)


def _walking(text: str, tree: ast.expr) -> Evaluate:
    shown = text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"

    def walk(scope: Scope, budget: Budget) -> object:
        try:
            return Evaluator(scope, budget).evaluate(tree)
        except ExpressionFailed as error:
            raise ExpressionFailed(f"{shown}: {error.message}") from None

    return walk
