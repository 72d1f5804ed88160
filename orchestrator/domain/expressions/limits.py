"""The bounds of evaluation: a count of operations, and the size of what operations read or make.

The wall time follows from the count: one operation takes about a microsecond, and work that is not
of constant size is charged in proportion.
"""

from orchestrator.domain.expressions.faults import ExpressionFailed
from orchestrator.domain.jsonvalue import LONGEST_INTEGER

OPERATIONS = 1_000_000
LARGEST = 2**26
LONGEST_BITS = 14_285

_TOO_LONG = 10**LONGEST_INTEGER
_SMALL = 2**62


def kind(value: object) -> str:
    """What `value` is, in words of JSON."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "text"
        case list():
            return "a list"
    return "an object"


class Budget:
    """What one evaluation may still spend.  Not shared between threads."""

    __slots__ = ("left", "weights")

    def __init__(self) -> None:
        self.left = OPERATIONS
        # By identity; each holds its container too, lest the identity be used again.
        self.weights: dict[int, tuple[object, int]] = {}

    def spend(self, operations: int = 1) -> None:
        """Charge `operations`; raises ExpressionFailed when they are used up."""
        self.left -= operations
        if self.left < 0:
            raise ExpressionFailed(f"takes more than {OPERATIONS:,} operations")

    def read(self, *values: object) -> None:
        """Charge for going through the whole of `values` once; refuse what is too large for it."""
        for value in values:
            if isinstance(value, (str, list, dict)):
                self.make(self.weigh(value))
            elif type(value) is int and not -_SMALL < value < _SMALL:
                self.spend(value.bit_length() >> 6)

    def make(self, size: int) -> None:
        """Charge for making text of about `size` characters; refuse too large a one."""
        if size > LARGEST:
            raise ExpressionFailed(f"makes more than {LARGEST:,} characters")
        self.spend(size >> 6)

    def weigh(self, value: object) -> int:
        """About the length of `value` as text.

        Each container is looked at once however often it occurs, so that a list that doubles itself
        again and again is seen to be too large without being written out.
        """
        if isinstance(value, str):
            return len(value)
        if not isinstance(value, (list, dict)):
            return 1 if not isinstance(value, int) else 1 + (value.bit_length() >> 2)
        known = self.weights.get(id(value))
        if known is None:
            weight = len(value) + 1
            if isinstance(value, dict):
                weight += sum(map(len, value)) + sum(map(self.weigh, value.values()))
            else:
                weight += sum(map(self.weigh, value))
            known = self.weights[id(value)] = (value, weight)
        return known[1]


def whole(value: int) -> int:
    """`value`, unless it has too many digits."""
    if not -_TOO_LONG < value < _TOO_LONG:
        raise ExpressionFailed(f"makes an integer of more than {LONGEST_INTEGER:,} digits")
    return value


def number(value: int | float | complex) -> int | float:
    """`value`, unless it is not a JSON number or has too many digits."""
    if isinstance(value, int):
        return value if -_SMALL < value < _SMALL else whole(value)
    if isinstance(value, complex) or value - value != 0:
        raise ExpressionFailed("makes a number that is not finite and real")
    return value
