"""`python -m tests.system.killed_worker POINT MARK`: a Celery worker whose process kills itself.

It serves the queue `kills` alone.  The first of its processes that comes to POINT a few times dies
there by SIGKILL, having left the file MARK; those that are forked after it pass.  The doors of the
store and the runners are wrapped here, so that the engine's own code has no switch for this."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from orchestrator.celery import app
from orchestrator.executor.flights import Flight, Landing
from orchestrator.executor.loop import Loop
from orchestrator.executor.threads import Threads
from orchestrator.store import work
from orchestrator.store.work import Claimed, Completion

QUEUE = "kills"
PASSES = 3
"""It dies at the third time, in the middle of things."""
POINTS = ("after_claim", "before_run", "after_run", "before_complete", "after_complete")


class Killer:
    """Dies once, at one of the points."""

    def __init__(self, point: str, mark: Path) -> None:
        self.point = point
        self.mark = mark
        self.passed = 0

    def at(self, point: str, count: int = 1) -> None:
        """Here is a point, with so many steps at it."""
        if point != self.point or not count or self.mark.exists():
            return
        self.passed += 1
        if self.passed >= PASSES:
            self.mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)

    def wrap(self) -> None:
        """Stand at the doors."""
        exchange, take = work.exchange, Landing.take

        def watched_exchange(
            connection: Any,
            worker_id: int,
            completions: Sequence[Completion],
            verdicts: Any,
            wanted: Any,
        ) -> tuple[list[int], list[Claimed]]:
            self.at("before_complete", len(completions))
            late, claimed = exchange(connection, worker_id, completions, verdicts, wanted)
            self.at("after_complete", len(completions))
            self.at("after_claim", len(claimed))
            return late, claimed

        def watched_take(landing: Landing) -> list[tuple[Flight, object]]:
            ended = take(landing)
            self.at("after_run", len(ended))
            return ended

        work.exchange = watched_exchange
        Landing.take = watched_take  # type: ignore[method-assign,assignment]
        for runner in (Loop, Threads):
            self._wrap_start(runner)

    def _wrap_start(self, runner: type[Any]) -> None:
        start: Callable[[Any, Any], None] = runner.start

        def watched_start(self_: Any, flights: Any) -> None:
            self.at("before_run")
            start(self_, flights)

        runner.start = watched_start


if __name__ == "__main__":
    Killer(sys.argv[1], Path(sys.argv[2])).wrap()
    quiet = ("--quiet", "worker", "-l", "WARNING", "--without-gossip", "--without-mingle")
    app.worker_main([*quiet, "-Q", QUEUE, "-c", "2", "-n", f"kills-{os.getpid()}"])
