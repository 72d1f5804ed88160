"""When a pool's rate lets the next step start: whoever claimed nothing looks again then."""

from __future__ import annotations

import time

from orchestrator.executor.flights import Landing
from orchestrator.store.work import Claimed


class Later:
    """The moment (`time.monotonic()`) that the last claim named; past: none."""

    def __init__(self) -> None:
        self._at = 0.0

    def heed(self, claimed: list[Claimed]) -> None:
        """Take the row out of a claim that says so."""
        if claimed and claimed[-1].kind == "later":
            self._at = time.monotonic() + claimed.pop().epoch / 1000

    def wait(self, landing: Landing) -> bool:
        """Nothing runs: wait for the moment, so that no wake-up is needed; False where there is none."""
        pause = self._at - time.monotonic()
        if pause <= 0:
            return False
        landing.wait(pause)
        return True

    def within(self, seconds: float) -> float:
        """`seconds`, or what is left until the moment, where that is less."""
        left = self._at - time.monotonic()
        return min(seconds, left) if left > 0 else seconds
