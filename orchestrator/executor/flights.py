"""Steps in flight, and how their ends reach the control loop."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass, field

from orchestrator.executor.invoke import Evaluated
from orchestrator.executor.items import ItemCalls
from orchestrator.executor.maps import Batch
from orchestrator.executor.plans import StepPlan
from orchestrator.executor.reading import Read
from orchestrator.handlers import Pulse, StepContext, Stop
from orchestrator.store.work import Claimed
from tenants.connections import Session


@dataclass(slots=True, eq=False)
class Flight:
    """One attempt that runs in this process.  Times are `time.monotonic()` seconds."""

    claimed: Claimed
    plan: StepPlan
    context: StepContext
    stop: Stop
    args: dict[str, object]
    """What its handler is given, which may change what is in them."""
    started: float = field(default_factory=time.monotonic)
    deadline: float = 0.0
    ending: str | None = None
    """Why it was asked to end: timeout, heartbeat_timeout, cancel, drain."""
    asked_at: float = 0.0
    """When its grace began."""
    cut_at: float = 0.0
    """When it is cut off although it has not ended."""
    written: bool = False
    """Its outcome is written although its code still runs (a hold keeps its connection)."""
    seconds: float = 0.0
    told: int = 0
    """How many of its heartbeats are written."""
    told_text: str | None = None
    """The progress that is written."""
    handle: object = None
    """What its runner needs to stop it."""
    work: ItemCalls | Read | None = None
    """What is done instead of one call of the handler with `args`."""
    evaluated: Evaluated | None = None
    """Its arguments as they were before; None: it has none."""
    batch: Batch | None = None
    """Of a map: the items whose results these are."""

    @property
    def pulse(self) -> Pulse:
        """Its handler's signs of life."""
        return self.context._pulse

    @property
    def session(self) -> Session:
        """Its handler's connection to the tenant's database."""
        session = self.context._session
        assert session is not None
        return session

    @property
    def silent_at(self) -> float | None:
        """When its silence will have lasted too long; None: it need not beat."""
        allowed = self.plan.step.heartbeat
        return None if allowed is None else self.pulse.at + allowed.total_seconds()


class Landing:
    """Ends of flights, put by runners' threads, taken by the control loop."""

    def __init__(self) -> None:
        self._ended: deque[tuple[Flight, object]] = deque()
        self._event = threading.Event()

    def put(self, flight: Flight, result: object) -> None:
        """A flight has ended; the loop is not woken yet (see `ring`)."""
        flight.seconds = time.monotonic() - flight.started
        self._ended.append((flight, result))

    def ring(self) -> None:
        """Wake the control loop."""
        self._event.set()

    def wait(self, timeout_s: float) -> None:
        """Until something rings, at most so long."""
        self._event.wait(timeout_s)
        self._event.clear()

    def take(self) -> list[tuple[Flight, object]]:
        """Everything that has ended by now."""
        ended = []
        while True:
            try:
                ended.append(self._ended.popleft())
            except IndexError:
                return ended
