"""simpleeval, narrowed to JSON values and bounded.

simpleeval gives the walk over the tree and the short-circuiting operators; names, paths, calls and
everything that makes a container are ours, because its own follow attributes of Python objects.
`check` has refused every kind of node that is not in `_NODES`.
"""

import ast
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import Any, TypeGuard, cast

from simpleeval import EvalWithCompoundTypes

from orchestrator.domain.expressions.faults import ExpressionFailed
from orchestrator.domain.expressions.functions import Functions
from orchestrator.domain.expressions.limits import Budget, kind
from orchestrator.domain.expressions.operators import Operators
from orchestrator.domain.expressions.paths import missing

_Comprehension = ast.ListComp | ast.DictComp | ast.GeneratorExp


class Evaluator(EvalWithCompoundTypes):  # type: ignore[misc]
    """Evaluates one expression once.

    simpleeval's own constructor is not called: it changes the warnings filter, which all threads
    share, and builds tables that are of no use here.
    """

    def __init__(self, scope: Mapping[str, object], budget: Budget) -> None:
        self.scope = scope
        self.budget = budget
        self.bound: dict[str, object] = {}
        self.operators = Operators(budget).table

    @cached_property
    def functions(self) -> dict[str, Callable[..., object]]:
        """Made when first needed: most expressions call nothing."""
        return Functions(self.budget).table

    def evaluate(self, tree: ast.expr) -> object:
        """The value of `tree`; raises ExpressionFailed."""
        try:
            return self._eval(tree)
        except ExpressionFailed:
            raise
        except ZeroDivisionError:
            raise ExpressionFailed("divides by zero") from None
        except OverflowError:
            raise ExpressionFailed("makes too large a number") from None
        except RecursionError:
            raise ExpressionFailed("nests too deep") from None
        except (TypeError, ValueError) as error:
            # Python names the types here, never the values.
            raise ExpressionFailed(str(error)) from None

    def _eval(self, node: ast.expr) -> object:
        self.budget.spend()
        return _NODES[type(node)](self, node)

    def _eval_constant(self, node: ast.Constant) -> object:
        return node.value

    def _eval_name(self, node: ast.Name) -> object:
        if node.id in self.bound:
            return self.bound[node.id]
        try:
            return self.scope[node.id]
        except KeyError:
            raise ExpressionFailed(f"`{node.id}` is not available here") from None

    def _eval_attribute(self, node: ast.Attribute) -> object:
        return self._look_up(node, self._eval(node.value), node.attr)

    def _eval_subscript(self, node: ast.Subscript) -> object:
        container = self._eval(node.value)
        if isinstance(node.slice, ast.Slice):
            return self._slice(node.slice, container)
        return self._look_up(node, container, self._eval(node.slice))

    def _look_up(self, node: ast.expr, container: object, key: object) -> object:
        if isinstance(container, dict) and isinstance(key, str) and key in container:
            return container[key]
        if isinstance(container, (list, str)) and _is_index(key, len(container)):
            return container[key]
        raise missing(ast.unparse(node), container, key)

    def _slice(self, node: ast.Slice, container: object) -> object:
        if not isinstance(container, (list, str)):
            raise ExpressionFailed(f"only a list or text has slices, not {kind(container)}")
        step = self._bound(node.step)
        if step == 0:
            raise ExpressionFailed("the step of a slice is not 0")
        part = container[self._bound(node.lower) : self._bound(node.upper) : step]
        self.budget.spend(len(part) >> 4)
        return part

    def _bound(self, node: ast.expr | None) -> int | None:
        value = None if node is None else self._eval(node)
        if value is None or isinstance(value, int):
            return value
        raise ExpressionFailed(f"a slice is bounded by whole numbers, not {kind(value)}")

    def _eval_list(self, node: ast.List | ast.Tuple) -> list[object]:
        return [self._eval(item) for item in node.elts]

    def _eval_dict(self, node: ast.Dict) -> dict[str, object]:
        pairs = zip(node.keys, node.values, strict=True)
        return {self._key(cast("ast.expr", key)): self._eval(value) for key, value in pairs}

    def _key(self, node: ast.expr) -> str:
        key = self._eval(node)
        if isinstance(key, str):
            return key
        raise ExpressionFailed(f"the keys of an object are text, not {kind(key)}")

    def _eval_call(self, node: ast.Call) -> object:
        function = self.functions[cast("ast.Name", node.func).id]
        named = {cast("str", keyword.arg): self._eval(keyword.value) for keyword in node.keywords}
        outer = self.bound
        result = function(*[self._eval(argument) for argument in node.args], **named)
        # any() and all() leave a generator where it stands, with its names still bound.
        self.bound = outer
        return result

    def _eval_list_comprehension(self, node: ast.ListComp) -> list[object]:
        return [self._eval(node.elt) for _ in self._rounds(node)]

    def _eval_dict_comprehension(self, node: ast.DictComp) -> dict[str, object]:
        return {self._key(node.key): self._eval(node.value) for _ in self._rounds(node)}

    def _eval_generator(self, node: ast.GeneratorExp) -> Iterator[object]:
        return (self._eval(node.elt) for _ in self._rounds(node))

    def _rounds(self, node: _Comprehension, index: int = 0) -> Iterator[None]:
        """Once per result of a comprehension, with its names bound; afterwards as before."""
        outer = self.bound
        generator = node.generators[index]
        items = self._eval(generator.iter)
        if not isinstance(items, (list, dict, str)):
            raise ExpressionFailed(f"{kind(items)} has no items to go through")
        self.budget.spend(len(outer))
        names = dict(outer)
        try:
            for item in items:
                self.budget.spend()
                self.bound = names
                self._bind(generator.target, item)
                if all(self._eval(condition) for condition in generator.ifs):
                    if index + 1 < len(node.generators):
                        yield from self._rounds(node, index + 1)
                    else:
                        yield
        finally:
            self.bound = outer

    def _bind(self, target: ast.expr, value: object) -> None:
        if isinstance(target, ast.Name):
            self.bound[target.id] = value
            return
        names = cast("ast.Tuple | ast.List", target).elts
        if not isinstance(value, (list, str)) or len(value) != len(names):
            raise ExpressionFailed(f"{kind(value)} is not a list of {len(names)} items")
        for name, part in zip(names, value, strict=True):
            self._bind(name, part)


def _is_index(key: object, length: int) -> TypeGuard[int]:
    return isinstance(key, int) and not isinstance(key, bool) and -length <= key < length


_NODES: dict[type[ast.expr], Callable[[Any, Any], object]] = {
    ast.Constant: Evaluator._eval_constant,
    ast.Name: Evaluator._eval_name,
    ast.Attribute: Evaluator._eval_attribute,
    ast.Subscript: Evaluator._eval_subscript,
    ast.Call: Evaluator._eval_call,
    ast.UnaryOp: EvalWithCompoundTypes._eval_unaryop,
    ast.BinOp: EvalWithCompoundTypes._eval_binop,
    ast.BoolOp: EvalWithCompoundTypes._eval_boolop,
    ast.Compare: EvalWithCompoundTypes._eval_compare,
    ast.IfExp: EvalWithCompoundTypes._eval_ifexp,
    ast.List: Evaluator._eval_list,
    ast.Tuple: Evaluator._eval_list,
    ast.Dict: Evaluator._eval_dict,
    ast.ListComp: Evaluator._eval_list_comprehension,
    ast.DictComp: Evaluator._eval_dict_comprehension,
    ast.GeneratorExp: Evaluator._eval_generator,
}
