"""Spans of runs, steps and attempts, made from their events: whoever runs steps has no part in it."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from orchestrator.domain import jsonvalue, traces
from orchestrator.domain.traces import Arrival, Context, Ended, Fault
from orchestrator.store import Connection
from orchestrator.store import traces as store
from orchestrator.store.traces import Begun, Behind, Names, TracedEvent

logger = logging.getLogger(__name__)

MOST_OPEN = 100_000
"""Steps whose beginning is remembered; of others it is read again."""
MOST_NAMES = 1_000
MOST_SPANS = 512
"""Of one message to the collector: with tracebacks, far below what collectors take."""
LONGEST_S = 5.0
"""A look goes on for so long while there is more; then the other tenants' turn is looked for anew."""
WARN_EVERY_S = 60.0
ATTEMPT_ENDS = frozenset(
    f"step.{word}"
    for word in (
        "succeeded", "failed", "retrying", "skipped", "cancelled", "lost", "waiting", "ready",
    )
)  # fmt: skip
STEP_ENDS = frozenset(f"step.{word}" for word in ("succeeded", "failed", "skipped", "cancelled"))
RUN_ENDS = frozenset(("run.succeeded", "run.failed", "run.cancelled"))
FAILED = frozenset(("step.failed", "step.retrying", "step.lost", "run.failed"))
PARTS = {-1: "compensate", -2: "undo"}
NEVER_BEGUN = frozenset(("upstream_failed", "upstream_skipped", "trigger_rule"))
"""Why steps are skipped that were never ready: there is no beginning to look for."""

Key = tuple[UUID, int, int]


@dataclass(slots=True)
class Open:
    """A step that has begun, and its attempt that runs."""

    since: datetime
    running_at: datetime | None = None
    span_id: str | None = None
    attempt: int | None = None
    worker_id: int | None = None

    def see(self, event: Begun | TracedEvent) -> None:
        """What has begun now."""
        if event.type == "step.running":
            self.running_at, self.attempt, self.worker_id = event.at, event.attempt, event.worker_id
            self.span_id = _told(event.data).get("span")


class Spans:
    """A duty of the clock: sends the spans of what has ended since it last did.

    At least once: the cursor moves after they have arrived, so some may be sent twice, with the same
    ids.  What a collector that is there refuses, because of what is in it, is tried in smaller pieces,
    and at last passed over."""

    def __init__(self, send: Callable[[Sequence[Ended]], Arrival]) -> None:
        self._send = send
        self._open: OrderedDict[Key, Open] = OrderedDict()
        self._names: dict[int, Names] = {}
        self._workers: dict[int, str] = {}
        self._warned_at = -WARN_EVERY_S

    def __call__(self, connection: Connection) -> int:
        """Look at every tenant in turn until nothing is left, or time is up; answers how many spans were
        sent."""
        until = time.monotonic() + LONGEST_S
        sent = 0
        behind = store.behind(connection)
        while behind:
            left = []
            for tenant in behind:
                events, upto = store.events(connection, tenant)
                spans = self._spans(connection, tenant, events)
                if not self._all_arrive(spans):
                    self._warn("no spans arrive at OTEL_EXPORTER_OTLP_ENDPOINT: tried again")
                    self._open.clear()  # it is all read again
                    return sent
                store.move(connection, tenant.tenant_id, upto)
                sent += len(spans)
                if upto < tenant.last:
                    left.append(tenant._replace(cursor=upto))
            behind = left if time.monotonic() < until else []
        return sent

    def _all_arrive(self, spans: Sequence[Ended]) -> bool:
        starts = range(0, len(spans), MOST_SPANS)
        return all(self._arrives(spans[start : start + MOST_SPANS]) for start in starts)

    def _arrives(self, spans: Sequence[Ended]) -> bool:
        """Whether nothing is left to be sent of these; false: the collector is away."""
        arrival = self._send(spans)
        if arrival is not Arrival.REFUSED:
            return arrival is Arrival.TAKEN
        if len(spans) == 1:
            self._warn(f"the collector refuses the span {spans[0].name}: it is passed over")
            return True
        half = len(spans) // 2
        return self._arrives(spans[:half]) and self._arrives(spans[half:])

    def _warn(self, words: str) -> None:
        now = time.monotonic()
        if now - self._warned_at >= WARN_EVERY_S:
            self._warned_at = now
            logger.warning(words)

    def _spans(
        self, connection: Connection, tenant: Behind, events: Sequence[TracedEvent]
    ) -> list[Ended]:
        self._learn(connection, events)
        found: list[Ended] = []
        self._workers = store.workers(
            connection, {one.worker_id for one in events if one.worker_id is not None}
        )
        for event in events:
            place = traces.parse(event.trace)
            if place is not None and place.sampled:
                found += self._of_event(connection, tenant, event, place)
        return found

    def _learn(self, connection: Connection, events: Sequence[TracedEvent]) -> None:
        missing = {event.version_id for event in events} - self._names.keys()
        if missing:
            if len(self._names) > MOST_NAMES:
                self._names.clear()
                missing = {event.version_id for event in events}
            self._names |= store.names(connection, missing)

    def _of_event(
        self, connection: Connection, tenant: Behind, event: TracedEvent, place: Context
    ) -> Iterator[Ended]:
        if event.type in RUN_ENDS:
            yield self._run(tenant, event, place)
        if event.ordinal is None or event.batch is None:
            return
        key = (event.run_id, event.ordinal, event.batch)
        known = self._open.get(key)
        if known is None and event.type in ("step.ready", "step.running"):
            known = self._remember(key, Open(event.at))
        if known is None and event.type in ATTEMPT_ENDS:
            known = self._reread(connection, tenant, event, key)
        if known is None:
            return
        known.see(event)
        if event.type in ATTEMPT_ENDS and known.running_at is not None:
            yield self._attempt(tenant, event, place, known)
            known.running_at = known.span_id = None
        if event.type in STEP_ENDS:
            yield self._step(tenant, event, place, known)
            self._open.pop(key, None)

    def _remember(self, key: Key, opened: Open) -> Open:
        self._open[key] = opened
        while len(self._open) > MOST_OPEN:
            self._open.popitem(last=False)
        return opened

    def _reread(
        self, connection: Connection, tenant: Behind, event: TracedEvent, key: Key
    ) -> Open | None:
        """What another clock has seen; None: it has never been ready."""
        if event.type == "step.skipped" and _told(event.data).get("reason") in NEVER_BEGUN:
            return None
        earlier = store.before(connection, tenant.tenant_id, event)
        if not earlier:
            return None
        opened = Open(earlier[0].at)
        for one in earlier:
            opened.see(one)
        return self._remember(key, opened)

    def _run(self, tenant: Behind, event: TracedEvent, place: Context) -> Ended:
        names = self._names[event.version_id]
        own = traces.run_span(event.run_id)
        return Ended(
            name=f"run {names.workflow}",
            trace_id=place.trace_id,
            span_id=own,
            parent=None if place.span_id == own else place.span_id,
            begun_at=event.created_at,
            ended_at=event.at,
            attributes={
                **self._about(tenant, event),
                "millrace.version": names.version,
                "millrace.state": event.type.partition(".")[2],
            },
            fault=_fault(event),
        )

    def _step(self, tenant: Behind, event: TracedEvent, place: Context, known: Open) -> Ended:
        assert event.ordinal is not None
        assert event.batch is not None
        parent = traces.run_span(event.run_id)
        if event.batch != 0:
            parent = traces.step_span(event.run_id, event.ordinal, 0)
        return Ended(
            name=f"step {self._step_name(event)}",
            trace_id=place.trace_id,
            span_id=traces.step_span(event.run_id, event.ordinal, event.batch),
            parent=parent,
            begun_at=known.since,
            ended_at=event.at,
            attributes={
                **self._about(tenant, event),
                **self._place(event),
                "millrace.state": event.type.partition(".")[2],
            },
            fault=_fault(event),
        )

    def _attempt(self, tenant: Behind, event: TracedEvent, place: Context, known: Open) -> Ended:
        assert event.ordinal is not None
        assert event.batch is not None
        assert known.running_at is not None
        number = known.worker_id or 0
        worker = {"millrace.worker": self._workers.get(number, str(number))} if number else {}
        return Ended(
            name=f"attempt {self._step_name(event)}",
            trace_id=place.trace_id,
            span_id=known.span_id
            or traces.attempt_span(event.run_id, event.ordinal, event.batch, event.seq),
            parent=traces.step_span(event.run_id, event.ordinal, event.batch),
            begun_at=known.running_at,
            ended_at=event.at,
            attributes={
                **self._about(tenant, event),
                **self._place(event),
                "millrace.attempt": known.attempt or 0,
                "millrace.outcome": event.type.partition(".")[2],
                **worker,
            },
            fault=_fault(event),
        )

    def _about(self, tenant: Behind, event: TracedEvent) -> dict[str, str | int | float]:
        return {
            "millrace.tenant": tenant.slug,
            "millrace.workflow": self._names[event.version_id].workflow,
            "millrace.run.id": str(event.run_id),
        }

    def _step_name(self, event: TracedEvent) -> str:
        assert event.ordinal is not None
        steps = self._names[event.version_id].steps
        return steps[event.ordinal] if 0 <= event.ordinal < len(steps) else "output"

    def _place(self, event: TracedEvent) -> dict[str, str | int | float]:
        found: dict[str, str | int | float] = {"millrace.step": self._step_name(event)}
        batch = event.batch or 0
        if batch > 0:
            found["millrace.index"] = batch - 1
        elif batch in PARTS:
            found["millrace.part"] = PARTS[batch]
        return found


def _told(data: str | None) -> dict[str, Any]:
    found = None if data is None else jsonvalue.decode(data)
    return found if isinstance(found, dict) else {}


def _fault(event: TracedEvent) -> Fault | None:
    """Why it failed, as its event tells it: secrets are hidden there already."""
    if event.type not in FAILED:
        return None
    told = _told(event.data)
    code = str(told.get("code") or event.type.partition(".")[2])
    kind = told.get("type")
    trace = told.get("traceback")
    return Fault(
        code,
        str(told.get("message") or code),
        None if kind is None else str(kind),
        None if trace is None else str(trace),
    )
