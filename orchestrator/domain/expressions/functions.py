"""The functions that an expression may call, within bounds."""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, cast

from orchestrator.domain.expressions.faults import ExpressionFailed
from orchestrator.domain.expressions.limits import Budget, kind, number, whole


@dataclass(frozen=True, slots=True)
class Signature:
    """How a function may be called: positional arguments from `least` to `most`, and keywords."""

    least: int
    most: int
    keywords: frozenset[str] = frozenset()
    takes_generator: bool = False


_ANY_NUMBER = 1_000
SIGNATURES: dict[str, Signature] = {
    "len": Signature(1, 1),
    "min": Signature(1, _ANY_NUMBER, frozenset({"default"}), takes_generator=True),
    "max": Signature(1, _ANY_NUMBER, frozenset({"default"}), takes_generator=True),
    "sum": Signature(1, 2, frozenset({"start"}), takes_generator=True),
    "sorted": Signature(1, 1, frozenset({"reverse"}), takes_generator=True),
    "any": Signature(1, 1, takes_generator=True),
    "all": Signature(1, 1, takes_generator=True),
    "abs": Signature(1, 1),
    "round": Signature(1, 2, frozenset({"ndigits"})),
    "str": Signature(0, 1),
    "int": Signature(0, 2, frozenset({"base"})),
    "float": Signature(0, 1),
    "bool": Signature(0, 1),
    "range": Signature(1, 3),
}
_MOST_PLACES = 4_300


class Functions:
    """The table that the evaluator looks functions up in; charges what they do to `budget`."""

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self.table: dict[str, Callable[..., object]] = {
            "len": self.length,
            "min": self._choosing(min),
            "max": self._choosing(max),
            "sum": self.sum,
            "sorted": self.sorted,
            "any": lambda values: any(self._items(values)),
            "all": lambda values: all(self._items(values)),
            "abs": lambda value: abs(_number("abs", value)),
            "round": self.round,
            "str": self.text,
            "int": self.integer,
            "float": self.float,
            "bool": lambda value=False: bool(value),
            "range": self.range,
        }

    def length(self, value: object) -> int:
        """Of a list, an object or a text (in code points)."""
        if isinstance(value, (str, list, dict)):
            return len(value)
        raise ExpressionFailed(f"len() needs a list, an object or text, not {kind(value)}")

    def sum(self, values: object, start: object = 0) -> int | float:
        """Of numbers; `start` is added."""
        total: int | float = _number("sum", start)
        for value in self._items(values):
            total = number(total + _number("sum", value))
        return total

    def sorted(self, values: object, reverse: object = False) -> list[object]:
        """A new list, smallest first; values that have no order among themselves are an error."""
        items: list[Any] = list(self._items(values))
        self.budget.read(items)
        rounds = len(items).bit_length()
        self.budget.spend((len(items) + (self.budget.weigh(items) >> 4)) * rounds >> 4)
        return sorted(items, reverse=bool(reverse))

    def round(self, value: object, ndigits: object = None) -> int | float:
        """As in Python: half to even, an integer without `ndigits`."""
        rounded = _number("round", value)
        if ndigits is None:
            return whole(round(rounded))
        if not isinstance(ndigits, int) or abs(ndigits) > _MOST_PLACES:
            raise ExpressionFailed(f"round() takes at most {_MOST_PLACES:,} places")
        return number(round(rounded, ndigits))

    def text(self, value: object = "") -> str:
        """As Python's `str`: `str(True)` is `True`."""
        self.budget.read(value)
        return str(value)

    def integer(self, value: object = 0, base: object = 10) -> int:
        """Of a number, towards zero, or of digits."""
        if isinstance(value, (int, float)):
            return int(value)
        if not isinstance(value, str):
            raise ExpressionFailed(f"int() needs a number or text, not {kind(value)}")
        if not isinstance(base, int):
            raise ExpressionFailed(f"the base of int() is a number, not {kind(base)}")
        if len(value) > 2 * _MOST_PLACES:
            raise ExpressionFailed("int() of too long a text")
        self.budget.spend(len(value) >> 2)
        try:
            return whole(int(value, base))
        except ExpressionFailed:
            raise
        except ValueError:
            raise ExpressionFailed("int() of text that is not a whole number") from None

    def float(self, value: object = 0.0) -> float:
        """Of a number or of text that is one."""
        if isinstance(value, str):
            self.budget.spend(len(value) >> 4)
        elif not isinstance(value, (int, float)):
            raise ExpressionFailed(f"float() needs a number or text, not {kind(value)}")
        try:
            result = float(value)
        except ValueError:
            raise ExpressionFailed("float() of text that is not a number") from None
        if not math.isfinite(result):
            raise ExpressionFailed("float() of what is not a finite number")
        return result

    def range(self, *bounds: object) -> list[object]:
        """A list of integers."""
        whole_bounds: list[int] = []
        for bound in bounds:
            if not isinstance(bound, int):
                raise ExpressionFailed(f"range() needs whole numbers, not {kind(bound)}")
            whole_bounds.append(bound)
        if len(whole_bounds) > 2 and whole_bounds[2] == 0:
            raise ExpressionFailed("the step of range() is not 0")
        numbers = range(*whole_bounds)
        first, last, step = numbers.start, numbers.stop, numbers.step
        # By hand, since len() of a range refuses what does not fit a machine word.
        self.budget.spend(max(0, -((first - last) // step)))
        return list(numbers)

    def _choosing(self, choose: Callable[..., object]) -> Callable[..., object]:
        def choose_within_bounds(*values: object, **default: object) -> object:
            if len(values) > 1:
                items = list(values)
            else:
                items = list(self._items(values[0]))
                if not items and "default" in default:
                    return default["default"]
            if not items:
                raise ExpressionFailed(f"{choose.__name__}() of nothing")
            self.budget.read(items)
            return choose(items)

        return choose_within_bounds

    def _items(self, values: object) -> Iterable[object]:
        """What to go through: a list's items, an object's keys, a text's characters."""
        if isinstance(values, Iterator):
            return cast("Iterator[object]", values)
        if not isinstance(values, (str, list, dict)):
            raise ExpressionFailed(f"{kind(values)} has no items to go through")
        self.budget.spend(len(values) >> 2)
        return cast("Iterable[object]", values)


def _number(name: str, value: object) -> int | float:
    if isinstance(value, (int, float)):
        return value
    raise ExpressionFailed(f"{name}() needs numbers, not {kind(value)}")
