"""How often something may be tried in vain: a bucket of tries for each address, in this process.

A bucket fills up again by and by; an address that leaves its bucket alone is forgotten."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address
from threading import Lock

MOST_ADDRESSES = 10_000


class Guesses:
    """`burst` tries at once, and `per_s` more with each second.  `clock` answers seconds."""

    def __init__(
        self, burst: int, per_s: float, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._burst = burst
        self._per_s = per_s
        self._clock = clock
        self._lock = Lock()
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait_s(self, who: str) -> int:
        """Whole seconds until `who` may try again; 0: now."""
        with self._lock:
            left = self._now(who)
        return 0 if left >= 1 else math.ceil((1 - left) / self._per_s)

    def note(self, who: str) -> None:
        """`who` has tried in vain."""
        with self._lock:
            self._left[who] = (max(0.0, self._now(who) - 1), self._clock())
            self._left.move_to_end(who)
            while len(self._left) > MOST_ADDRESSES:
                self._left.popitem(last=False)

    def forget(self) -> None:
        """Everybody begins anew."""
        with self._lock:
            self._left.clear()

    def _now(self, who: str) -> float:
        left, at = self._left.get(who, (float(self._burst), 0.0))
        return min(self._burst, left + (self._clock() - at) * self._per_s)


def place(origin: str) -> str:
    """Whom an address stands for: itself, or its /64, which is one customer's, for IPv6."""
    try:
        address = ip_address(origin)
    except ValueError:
        return origin[:100]
    if isinstance(address, IPv6Address):
        return address.exploded[:19]
    return str(address)
