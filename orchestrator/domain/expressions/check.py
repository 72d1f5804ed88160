"""Which expressions are accepted: everything is decided here, before anything is stored.

Python's `ast` reads the text; what is not listed here is refused, so that the evaluator meets
nothing else.
"""

import ast
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from keyword import iskeyword

from orchestrator.domain.expressions import operators
from orchestrator.domain.expressions.faults import BadExpression, ExpressionFailed
from orchestrator.domain.expressions.functions import SIGNATURES
from orchestrator.domain.expressions.limits import whole

ROOTS = frozenset({"input", "run", "tenant", "secrets", "steps", "item", "output", "error"})
_FIELDS: dict[str, tuple[str, ...]] = {"run": ("id", "labels"), "tenant": ("slug",)}
_STEP_FIELDS = ("output", "state")
_JSON_WORDS = {"true": "True", "false": "False", "null": "None"}
_DEEPEST = 100
# Each result of a comprehension goes through all of its loops.
_MOST_LOOPS = 10
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*")

Key = str | int
Chain = ast.Attribute | ast.Subscript


@dataclass(slots=True)
class Uses:
    """What an expression refers to."""

    roots: set[str] = field(default_factory=set)
    steps: dict[str, None] = field(default_factory=dict)
    secrets: set[str] = field(default_factory=set)


def parse(text: str) -> ast.expr:
    """The tree of one expression; raises BadExpression."""
    if not text:
        raise BadExpression("the expression is empty")
    try:
        # In brackets, so that it may go over several lines.
        tree = ast.parse(f"({text}\n)", mode="eval").body
    except SyntaxError as error:
        raise BadExpression(f"not an expression: {error.msg}") from None
    except (ValueError, RecursionError, MemoryError):
        raise BadExpression("not an expression") from None
    _check_depth(tree)
    return tree


def _check_depth(tree: ast.AST) -> None:
    level = [tree]
    for _ in range(_DEEPEST):
        level = [child for node in level for child in ast.iter_child_nodes(node)]
        if not level:
            return
    raise BadExpression(f"the expression nests more than {_DEEPEST} levels deep")


def check(tree: ast.expr, allow: frozenset[str]) -> Uses:
    """What `tree` refers to; raises BadExpression unless all of it is allowed."""
    checker = _Checker(allow)
    checker.visit(tree, frozenset())
    return checker.uses


def plain_path(text: str) -> tuple[str, tuple[Key, ...]] | None:
    """The root and keys of names with dots between, which need no parsing; else None."""
    if not _PLAIN.fullmatch(text):
        return None
    root, *keys = text.split(".")
    if iskeyword(root) or any(map(iskeyword, keys)):
        return None
    return root, tuple(keys)


def check_path(root: str, keys: Sequence[Key], allow: frozenset[str]) -> Uses:
    """As `check`, of a plain path."""
    checker = _Checker(allow)
    checker.path(root, keys)
    return checker.uses


def constant_path(tree: ast.expr) -> tuple[str, tuple[Key, ...]] | None:
    """The root and keys of a tree that is nothing but a path of constants, else None."""
    base, links = _unroll(tree)
    keys = _constant_keys(links)
    if not isinstance(base, ast.Name) or len(keys) < len(links):
        return None
    return base.id, keys


def _unroll(tree: ast.expr) -> tuple[ast.expr, list[Chain]]:
    """`a.b["c"][0]` as `a` and its links, first to last."""
    links: list[Chain] = []
    while isinstance(tree, (ast.Attribute, ast.Subscript)):
        links.append(tree)
        tree = tree.value
    return tree, links[::-1]


def _constant_keys(links: Sequence[Chain]) -> tuple[Key, ...]:
    """The keys of `links` up to the first that is not a constant."""
    keys: list[Key] = []
    for link in links:
        key = link.attr if isinstance(link, ast.Attribute) else _constant_key(link.slice)
        if key is None:
            break
        keys.append(key)
    return tuple(keys)


def _constant_key(node: ast.expr) -> Key | None:
    match node:
        case ast.Constant(value=str() as text):
            return text
        case ast.Constant(value=int() as index) if not isinstance(index, bool):
            return index
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() as index)):
            return -index
    return None


def _operands(node: ast.expr) -> Sequence[ast.expr]:
    """The parts of an expression that is nothing but its parts; others are refused."""
    match node:
        case ast.UnaryOp(op=op) if isinstance(op, operators.UNARY):
            return (node.operand,)
        case ast.BinOp(op=op) if isinstance(op, operators.ARITHMETIC):
            return (node.left, node.right)
        case ast.BoolOp():
            return node.values
        case ast.IfExp():
            return (node.test, node.body, node.orelse)
        case ast.List() | ast.Tuple():
            return node.elts
    raise BadExpression(f"{_describe(node)} is not allowed in an expression")


def _suggest(word: str, words: Iterable[str]) -> str:
    close = get_close_matches(word, list(words), n=1)
    return f", did you mean {close[0]}?" if close else ""


class _Checker:
    """Walks a tree with the names that comprehensions have bound; collects what it refers to."""

    def __init__(self, allow: frozenset[str]) -> None:
        self.allow = allow
        self.uses = Uses()

    def visit(self, node: ast.expr, bound: frozenset[str]) -> None:
        match node:
            case ast.Constant():
                _check_constant(node.value)
            case ast.Name():
                self._name(node, bound)
            case ast.Attribute() | ast.Subscript():
                self._chain(node, bound)
            case ast.Call():
                self._call(node, bound)
            case ast.Compare():
                self._compare(node, bound)
            case ast.Dict():
                self._dict(node, bound)
            case ast.ListComp() | ast.DictComp():
                self._comprehension(node, bound)
            case _:
                self._all(_operands(node), bound)

    def _all(self, nodes: Iterable[ast.expr], bound: frozenset[str]) -> None:
        for node in nodes:
            self.visit(node, bound)

    def _name(self, node: ast.Name, bound: frozenset[str]) -> None:
        name = node.id
        if name not in bound:
            self.path(name, ())

    def _root(self, name: str) -> None:
        if name in self.allow:
            self.uses.roots.add(name)
        elif name in ROOTS:
            raise BadExpression(f"`{name}` is not available here")
        elif name in SIGNATURES:
            raise BadExpression(f"`{name}` is a function: call it")
        elif name in _JSON_WORDS:
            raise BadExpression(f"`{name}` is not defined, did you mean {_JSON_WORDS[name]}?")
        else:
            suggestion = _suggest(name, (*self.allow, *SIGNATURES))
            raise BadExpression(f"`{name}` is not defined{suggestion}")

    def _chain(self, node: Chain, bound: frozenset[str]) -> None:
        base, links = _unroll(node)
        for link in links:
            if isinstance(link, ast.Attribute):
                _check_attribute(link.attr)
            elif isinstance(link.slice, ast.Slice):
                bounds = (link.slice.lower, link.slice.upper, link.slice.step)
                self._all((part for part in bounds if part is not None), bound)
            else:
                self.visit(link.slice, bound)
        if isinstance(base, ast.Name) and base.id not in bound:
            self._root(base.id)
            self._restricted(base.id, _constant_keys(links))
        else:
            self.visit(base, bound)

    def path(self, root: str, keys: Sequence[Key]) -> None:
        """A path of names only."""
        for key in keys:
            _check_attribute(str(key))
        self._root(root)
        self._restricted(root, keys)

    def _restricted(self, root: str, keys: Sequence[Key]) -> None:
        """The roots of which only certain paths exist, all to be known before a run starts."""
        first = keys[0] if keys else None
        if root == "steps":
            self._step(first, keys[1] if len(keys) > 1 else None)
        elif root == "secrets":
            if not isinstance(first, str):
                raise BadExpression("name the secret: secrets.NAME")
            self.uses.secrets.add(first)
        elif root in _FIELDS and first not in _FIELDS[root]:
            known = " or ".join(f"{root}.{name}" for name in _FIELDS[root])
            raise BadExpression(f"`{root}` has only {known}")

    def _step(self, name: Key | None, part: Key | None) -> None:
        if not isinstance(name, str):
            raise BadExpression("name the step: steps.NAME.output or steps.NAME.state")
        if part not in _STEP_FIELDS:
            raise BadExpression(f"of a step there is steps.{name}.output and steps.{name}.state")
        self.uses.steps[name] = None

    def _call(self, node: ast.Call, bound: frozenset[str]) -> None:
        function = node.func
        if not isinstance(function, ast.Name):
            raise BadExpression(f"only functions can be called, not {_describe(function)}")
        name = function.id
        signature = SIGNATURES.get(name)
        if signature is None or name in bound:
            raise BadExpression(f"`{name}` is not a function{_suggest(name, SIGNATURES)}")
        if not signature.least <= len(node.args) <= signature.most:
            raise BadExpression(f"{name}() does not take {len(node.args)} arguments")
        named = [keyword.arg for keyword in node.keywords]
        for keyword in named:
            if keyword not in signature.keywords:
                raise BadExpression(f"{name}() takes no argument `{keyword or '**'}`")
        if len(node.args) > 1 and named:
            raise BadExpression(f"{name}() does not take `{named[0]}` besides so many arguments")
        self._all((keyword.value for keyword in node.keywords), bound)
        if signature.takes_generator and isinstance(node.args[0], ast.GeneratorExp):
            self._comprehension(node.args[0], bound)
            self._all(node.args[1:], bound)
        else:
            self._all(node.args, bound)

    def _compare(self, node: ast.Compare, bound: frozenset[str]) -> None:
        self._all((node.left, *node.comparators), bound)
        for op, right in zip(node.ops, node.comparators, strict=True):
            if isinstance(op, operators.IDENTITY) and not (
                isinstance(right, ast.Constant)
                and (right.value is None or isinstance(right.value, bool))
            ):
                raise BadExpression("`is` compares with None, True or False only; use ==")

    def _dict(self, node: ast.Dict, bound: frozenset[str]) -> None:
        for key in node.keys:
            if key is None:
                raise BadExpression("`**` is not allowed in an expression")
            self.visit(key, bound)
        self._all(node.values, bound)

    def _comprehension(
        self, node: ast.ListComp | ast.DictComp | ast.GeneratorExp, bound: frozenset[str]
    ) -> None:
        if len(node.generators) > _MOST_LOOPS:
            raise BadExpression(f"a comprehension has at most {_MOST_LOOPS} loops")
        for generator in node.generators:
            if generator.is_async:
                raise BadExpression("`async` is not allowed in an expression")
            self.visit(generator.iter, bound)
            bound |= frozenset(_targets(generator.target))
            self._all(generator.ifs, bound)
        parts = (node.key, node.value) if isinstance(node, ast.DictComp) else (node.elt,)
        self._all(parts, bound)


def _check_attribute(name: str) -> None:
    if name.startswith("__") and name.endswith("__"):
        raise BadExpression(f"`.{name}` is not a key; write it in brackets")


def _targets(target: ast.expr) -> Iterable[str]:
    match target:
        case ast.Name():
            yield target.id
        case ast.Tuple() | ast.List():
            for part in target.elts:
                yield from _targets(part)
        case _:
            raise BadExpression("a comprehension binds names only")


def _check_constant(value: object) -> None:
    match value:
        case None | bool():
            return
        case int():
            try:
                whole(value)
            except ExpressionFailed:
                raise BadExpression("an integer has at most 4,300 digits") from None
            return
        case float() if math.isfinite(value):
            return
        case str():
            if "\0" in value or any("\ud800" <= character <= "\udfff" for character in value):
                raise BadExpression("text with U+0000 or a lone surrogate is not allowed")
            return
    raise BadExpression("the constant is not a JSON value")


_DESCRIPTIONS: dict[type[ast.AST], str] = {
    ast.Lambda: "a lambda",
    ast.JoinedStr: "an f-string",
    ast.Set: "a set",
    ast.SetComp: "a set",
    ast.GeneratorExp: "a generator outside of a function such as sum()",
    ast.Starred: "`*`",
    ast.NamedExpr: "`:=`",
    ast.Slice: "a slice outside of brackets",
    ast.BinOp: "an operator on bits",
    ast.UnaryOp: "an operator on bits",
    ast.Attribute: "a method",
    ast.Await: "`await`",
    ast.Yield: "`yield`",
    ast.YieldFrom: "`yield`",
}


def _describe(node: ast.expr) -> str:
    return _DESCRIPTIONS.get(type(node), "this")
