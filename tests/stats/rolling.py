"""`python -m tests.stats.rolling CONNINFO`: counts events in processes that stop at a named point.

Reads a point's name a line, forks, and tells `<pid> <point>` once the child is there; the child then
waits to be killed.  `none` lets it end by itself."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable

import psycopg


def main(conninfo: str) -> None:
    """Serve until standard input ends."""
    import django

    django.setup()
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            count_until(line.strip(), conninfo)
            os._exit(0)
        os.waitpid(pid, 0)
        print("ended", flush=True)


def count_until(point: str, conninfo: str) -> None:
    """Count once, but stop where `point` says: before or after one of the statements."""
    from orchestrator.services import rollups
    from orchestrator.store import rollups as statements

    def stopped(act: Callable[..., object], *, before: bool) -> Callable[..., object]:
        def stop() -> None:
            print(f"{os.getpid()} {point}", flush=True)
            threading.Event().wait()

        def instead(*args: object, **named: object) -> object:
            if before:
                stop()
            answer = act(*args, **named)
            stop()
            return answer

        return instead

    with psycopg.connect(conninfo, autocommit=True) as connection:
        if point in ("committed", "none"):
            rollups.roll(7, connection=connection)
            if point == "committed":
                stopped(lambda: None, before=True)()
            return
        when, _, name = point.partition(" ")
        setattr(statements, name, stopped(getattr(statements, name), before=when == "before"))
        rollups.roll(7, connection=connection)


if __name__ == "__main__":
    main(sys.argv[1])
