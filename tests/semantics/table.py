"""Where a game is played: a tenant, its runs by the engine and by the model, and their comparison."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID

from uuid_utils.compat import uuid4

from orchestrator import store
from orchestrator.domain import jsonvalue
from orchestrator.domain.undo import COMPENSATION, UNDO
from orchestrator.executor import control, saga
from orchestrator.executor.plans import Plans
from orchestrator.executor.waits import Means
from orchestrator.handlers import registry
from orchestrator.models import Run, StepRun
from orchestrator.store import clock, work
from orchestrator.store.work import Claimed
from tenants.actors import SYSTEM
from tenants.services import create_tenant
from tests.engine import Engine
from tests.semantics import model
from tests.semantics.model_step import Call, Step

T = TypeVar("T")


@dataclass(eq=False)
class Flight:
    """A step that the worker holds."""

    claimed: Claimed
    run: model.Run
    step: Step
    arguments: dict[str, Any]
    call: Call | None = None
    """Its compensation or undo, where that runs and not the step itself."""


class Table:
    """One tenant, a few runs, one worker at a time."""

    def __init__(self, documents: Sequence[dict[str, Any]], choices: Sequence[int]) -> None:
        self.documents = documents
        self.choices = itertools.cycle(choices)
        self.tenant = create_tenant(slug=f"t-{uuid4().hex}", max_connections=1_000, actor=SYSTEM)
        self.connection = store.connection()
        registry.load()
        self.plans = Plans(registry)
        self.engine = Engine()
        self.runs: dict[UUID, model.Run] = {}
        self.flights: list[Flight] = []
        self.stale: list[Claimed] = []

    def choose(self, among: Sequence[T]) -> T:
        """One of these, as the next choice says."""
        return among[next(self.choices) % len(among)]

    # -- what must hold ------------------------------------------------------------------------

    def compare(self) -> None:
        rows = StepRun.objects.filter(tenant=self.tenant, batch=0).order_by("ordinal")
        found: dict[UUID, list[tuple[object, ...]]] = {run_id: [] for run_id in self.runs}
        for row in rows:
            output = None if row.output is None else jsonvalue.decode(row.output)
            found[row.run_id].append((row.state, row.attempts, row.losses, row.handled, output))
        for run_id, run in self.runs.items():
            expected = [(s.state, s.attempts, s.losses, s.handled, s.output) for s in run.steps]
            assert found[run_id] == expected, (found[run_id], expected)
        for ended in Run.objects.filter(tenant=self.tenant):
            run = self.runs[ended.pk]
            output = None if ended.output is None else jsonvalue.decode(ended.output)
            said = (ended.state, ended.closing, output)
            assert said == (run.state, run.closing, run.output), (said, run.state, run.closing)
            assert ended.undo_state == run.undo
        self.compare_calls()
        assert clock.reconcile(self.connection) == 0

    def compare_calls(self) -> None:
        """Compensations while they last, and undos."""
        rows = StepRun.objects.filter(tenant=self.tenant, batch__lt=0, handler_id__isnull=False)
        found: dict[tuple[UUID, int, int], str] = {
            (row.run_id, row.ordinal, row.batch): row.state for row in rows
        }
        for run_id, run in self.runs.items():
            for step in run.steps:
                if step.compensation is not None:
                    state = found[run_id, step.number, COMPENSATION]
                    assert state == step.compensation.state
                undoing = found.get((run_id, step.number, UNDO))
                assert undoing == (step.undoing and step.undoing.state)

    # -- how it is done ------------------------------------------------------------------------

    def _is_told(self, flight: Flight) -> bool:
        """Whether it hears that its run is closing: an undo does not."""
        return bool(flight.run.closing) and (flight.call is None or flight.call.kind != "undo")

    def _plan(self, claimed: Claimed) -> Any:
        self.plans.need(self.connection, [claimed.version_id])
        return self.plans.get(claimed.version_id)

    def _land(self) -> Flight:
        flight = self.choose(self.flights)
        self.flights.remove(flight)
        return flight

    def _conclude(self, flight: Flight, result: object, then: Callable[[Step], None]) -> None:
        plan = self._plan(flight.claimed).of(flight.claimed)
        self.engine.complete(
            saga.conclude(
                plan,
                flight.claimed,
                result,
                seconds=0.1,
                args=lambda: flight.arguments,
                max_bytes=1_000_000,
            )
        )
        then(flight.step)
        self._control()

    def _control(self) -> None:
        """Conditions and outputs, which no connection is needed for, are decided at once."""
        for run in self.runs.values():
            run.conditions()
        while asked := self.engine.claim(0):
            means = Means(lambda: self.connection, self.plans, 1_000_000)
            verdicts = [control.decide(self._plan(claimed), claimed, means) for claimed in asked]
            assert self.engine.worker is not None
            work.exchange(self.connection, self.engine.worker.pk, [], verdicts, None)
