"""Python's operators on JSON values, within bounds."""

import ast
import operator
from collections.abc import Callable
from typing import Any, cast

from orchestrator.domain.expressions.faults import ExpressionFailed
from orchestrator.domain.expressions.limits import LONGEST_BITS, Budget, kind, number

Number = int | float
_Compare = Callable[[Any, Any], bool]

ARITHMETIC = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.Pow)
COMPARISONS = (ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.In, ast.NotIn)
IDENTITY = (ast.Is, ast.IsNot)
UNARY = (ast.Not, ast.USub, ast.UAdd)


class Operators:
    """The table that the evaluator looks operators up in; charges what they do to `budget`."""

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self.table: dict[type[ast.AST], Callable[..., object]] = {
            ast.Add: self.add,
            ast.Sub: self.subtract,
            ast.Mult: self.multiply,
            ast.Div: self.divide,
            ast.FloorDiv: self.floor_divide,
            ast.Mod: self.modulo,
            ast.Pow: self.power,
            ast.USub: self.negative,
            ast.UAdd: self.positive,
            ast.Not: operator.not_,
            ast.Is: operator.is_,
            ast.IsNot: operator.is_not,
            ast.In: self.contained,
            ast.NotIn: lambda item, container: not self.contained(item, container),
            ast.Eq: self._comparing(operator.eq),
            ast.NotEq: self._comparing(operator.ne),
            ast.Lt: self._comparing(operator.lt),
            ast.LtE: self._comparing(operator.le),
            ast.Gt: self._comparing(operator.gt),
            ast.GtE: self._comparing(operator.ge),
        }

    def add(self, a: object, b: object) -> object:
        """Numbers are added, texts and lists joined."""
        if isinstance(a, str) and isinstance(b, str):
            self.budget.make(len(a) + len(b))
            return a + b
        if isinstance(a, list) and isinstance(b, list):
            self.budget.spend(len(a) + len(b))
            return [*a, *b]
        x, y = self._numbers("+", a, b)
        return number(x + y)

    def subtract(self, a: object, b: object) -> Number:
        """Numbers only."""
        x, y = self._numbers("-", a, b)
        return number(x - y)

    def multiply(self, a: object, b: object) -> object:
        """Numbers; a text or a list is repeated."""
        if isinstance(a, int) and isinstance(b, (str, list)):
            a, b = b, a
        if isinstance(a, (str, list)) and isinstance(b, int):
            size = len(a) * max(b, 0)
            if isinstance(a, str):
                self.budget.make(size)
            else:
                self.budget.spend(size)
            return a * b
        x, y = self._numbers("*", a, b)
        if isinstance(x, int) and isinstance(y, int):
            _short(x.bit_length() + y.bit_length() - 1)
        return number(x * y)

    def divide(self, a: object, b: object) -> Number:
        """Numbers only; the result is a float, as in Python."""
        x, y = self._numbers("/", a, b)
        return number(x / y)

    def floor_divide(self, a: object, b: object) -> Number:
        """Numbers only."""
        x, y = self._numbers("//", a, b)
        return number(x // y)

    def modulo(self, a: object, b: object) -> Number:
        """Numbers only; text is not formatted."""
        x, y = self._numbers("%", a, b)
        return number(x % y)

    def power(self, a: object, b: object) -> Number:
        """Numbers only."""
        x, y = self._numbers("**", a, b)
        if isinstance(x, int) and isinstance(y, int) and y > 0 and abs(x) > 1:
            _short((abs(x).bit_length() - 1) * y)
            self.budget.spend(abs(x).bit_length() * y >> 6)
        return number(x**y)

    def negative(self, a: object) -> Number:
        """A number only."""
        return -self._numbers("-", a, 0)[0]

    def positive(self, a: object) -> Number:
        """A number only."""
        return +self._numbers("+", a, 0)[0]

    def contained(self, item: object, container: object) -> bool:
        """Whether a list holds `item`, an object has such a key, or a text such a part."""
        if isinstance(container, dict):
            return isinstance(item, str) and item in container
        if isinstance(container, str) and not isinstance(item, str):
            raise ExpressionFailed(f"text holds text, not {kind(item)}")
        if not isinstance(container, (str, list)):
            raise ExpressionFailed(f"`in` needs a list, an object or text, not {kind(container)}")
        self.budget.read(item, container)
        return item in cast("list[object]", container)

    def _comparing(self, compare: _Compare) -> _Compare:
        def compare_within_bounds(a: object, b: object) -> bool:
            self.budget.read(a, b)
            return compare(a, b)

        return compare_within_bounds

    def _numbers(self, sign: str, a: object, b: object) -> tuple[Number, Number]:
        if not isinstance(a, (int, float)) or not isinstance(b, (int, float)):
            raise ExpressionFailed(f"{sign} is not defined for {kind(a)} and {kind(b)}")
        self.budget.read(a, b)
        return a, b


def _short(bits: int) -> None:
    """Refuse a result of at least `bits` bits before it is computed."""
    if bits > LONGEST_BITS:
        raise ExpressionFailed("makes an integer of more than 4,300 digits")
