"""Random workflows with random fates, run by the engine's statements and by the model alike."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

from hypothesis import strategies as st
from uuid_utils.compat import uuid4

from orchestrator import store
from orchestrator.domain import jsonvalue
from orchestrator.executor import control, invoke
from orchestrator.executor.plans import Plans
from orchestrator.executor.waits import Means
from orchestrator.handlers import Abort, Skip, Snooze, registry
from orchestrator.models import Run, StepRun
from orchestrator.services.runs import cancel_run, submit_run
from orchestrator.services.workflows import publish_workflow
from orchestrator.store import clock, work, workers
from orchestrator.store.work import Claimed, Completion
from tenants.actors import SYSTEM
from tenants.services import create_tenant
from tests.engine import Engine
from tests.semantics import model

RULES = [
    "all_success",
    "all_success",
    "all_failed",
    "all_done",
    "one_success",
    "one_failed",
    "none_failed",
    "always",
]
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
T = TypeVar("T")
MOVES = 30
MOST_STEPS = 7


@st.composite
def blueprints(draw: st.DrawFn) -> dict[str, Any]:
    """A workflow's document; a model of a run is made from the same."""
    steps: list[dict[str, Any]] = []
    for number in range(draw(st.integers(1, MOST_STEPS))):
        earlier = [f"s{other}" for other in range(number)]
        parents = (
            draw(st.lists(st.sampled_from(earlier), unique=True, max_size=3)) if number else []
        )
        step: dict[str, Any] = {
            "name": f"s{number}",
            "handler": "core.echo",
            "args": {
                "parents": [f"${{{{ steps.{parent}.output }}}}" for parent in sorted(parents)]
            },
            "retry": {"max_attempts": draw(st.integers(1, 3)), "delay": 60, "jitter": 0},
        }
        if parents:
            step["trigger_rule"] = draw(st.sampled_from(RULES))
        elif draw(st.integers(0, 9)) == 0:
            step["trigger_rule"] = "always"
        if draw(st.integers(0, 4)) == 0:
            step["if"] = f"${{{{ {draw(st.booleans())} }}}}"
        if draw(st.integers(0, 3)) == 0:
            step["on_error"] = {"value": -100}
        steps.append(step)
    document: dict[str, Any] = {"steps": steps, "fail_fast": draw(st.booleans())}
    if draw(st.booleans()):
        names = ", ".join(f"steps.{step['name']}.output" for step in steps)
        document["output"] = f"${{{{ [{names}] }}}}"
    return document


def modelled(document: dict[str, Any]) -> model.Run:
    """The model of a run of this workflow, submitted."""
    by_name: dict[str, model.Step] = {}
    for number, given in enumerate(document["steps"]):
        references = [text.split(".")[1] for text in given["args"]["parents"]]
        by_name[given["name"]] = model.Step(
            given["name"],
            number,
            [by_name[name] for name in references],
            rule=given.get("trigger_rule", "all_success"),
            condition="False" not in given.get("if", ""),
            on_error=given["on_error"]["value"] if "on_error" in given else None,
            max_attempts=given["retry"]["max_attempts"],
        )
    run = model.Run(
        list(by_name.values()), fail_fast=document["fail_fast"], asks_all="output" in document
    )
    run.begin()
    run.conditions()
    return run


@dataclass(eq=False)
class Flight:
    """A step that the worker holds."""

    claimed: Claimed
    run: model.Run
    step: model.Step
    arguments: dict[str, Any]


class Semantics:
    """One tenant, a few runs, one worker at a time.

    (Not one of hypothesis' own state machines: those leave out some of the rules in each example,
    while here most are needed for anything to happen; and they want the same moves to be open when
    an example is repeated, while here steps of one rank are claimed in any order.)"""

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

    def play(self) -> None:
        """A game of so many moves, compared after each; then it is played to its end."""
        self.submit()
        self.engine.join()
        for _ in range(MOVES):
            self.move()
            self.compare()
        while any(run.state not in model.TERMINAL for run in self.runs.values()):
            self.claim()
            if self.flights:
                self.succeed()
            else:
                self.let_time_pass()
            self.compare()

    def move(self) -> None:
        """One of the moves that are open now; how often each is named is its weight."""
        open_moves = [self.claim] * 6 + [self.let_time_pass] * 2 + [self.close]
        if len(self.runs) < len(self.documents):
            open_moves += [self.submit]
        if self.flights:
            open_moves += [self.succeed] * 4 + [self.fail] * 4
            open_moves += [self.skip, self.snooze, self.lose_the_worker, self.lose_the_worker]
        if any(flight.run.closing for flight in self.flights):
            open_moves += [self.heed] * 3
        if self.stale:
            open_moves += [self.come_too_late] * 3
        self.choose(open_moves)()

    def choose(self, among: Sequence[T]) -> T:
        """One of these, as the next choice says."""
        return among[next(self.choices) % len(among)]

    # -- what may happen -----------------------------------------------------------------------

    def submit(self) -> None:
        document = self.documents[len(self.runs)]
        name = f"w{len(self.runs)}"
        publish_workflow(tenant=self.tenant, name=name, document=document, actor=SYSTEM)
        made = submit_run(tenant=self.tenant, workflow=name, body={}, actor=SYSTEM)
        self.runs[made.run_id] = modelled(document)
        self._control()

    def claim(self) -> None:
        want = self.choose((1, 2, 3, 4))
        ready = [step for run in self.runs.values() for step in run.steps if step.state == "ready"]
        calm = [step for step in ready if not step.suspect]
        claims = self.engine.claim(want, alone=not self.flights)
        expected = min(want, len(calm)) or (min(1, len(ready)) if not self.flights else 0)
        assert len(claims) == expected
        for claimed in claims:
            run = self.runs[claimed.run_id]
            step = run.steps[claimed.ordinal]
            assert step in ready
            assert claimed.attempts == step.attempts
            plan = self._plan(claimed)
            arguments = invoke.arguments(plan, plan.steps[claimed.ordinal], claimed)
            self.flights.append(Flight(claimed, run, step, arguments))
            run.claim(step)

    def succeed(self) -> None:
        flight = self._land()
        assert flight.arguments["parents"] == flight.step.seen
        value = flight.step.number + 1 + sum(given or 0 for given in flight.step.seen)
        self._conclude(flight, value, flight.run.succeed)

    def fail(self) -> None:
        for_good = self.choose((True, False))
        error = Abort("no") if for_good else ValueError("no")
        flight = self._land()
        self._conclude(flight, error, lambda step: flight.run.fail(step, for_good=for_good))

    def skip(self) -> None:
        flight = self._land()
        self._conclude(flight, Skip("not today"), flight.run.skip)

    def snooze(self) -> None:
        flight = self._land()
        self._conclude(flight, Snooze(for_=timedelta(minutes=1)), flight.run.snooze)

    def heed(self) -> None:
        """A step of a closing run has been told, and ends."""
        flight = self.choose([f for f in self.flights if f.run.closing])
        self.flights.remove(flight)
        self.engine.complete(Completion(flight.claimed, "cancelled", 0.1))
        flight.run.cancelled(flight.step)
        self._control()

    def lose_the_worker(self) -> None:
        assert self.engine.worker is not None
        lost, _ = workers.reap(self.connection, self.engine.worker.pk)
        assert lost == len(self.flights)
        for run in self.runs.values():
            run.lose([flight.step for flight in self.flights if flight.run is run])
        self.stale += [flight.claimed for flight in self.flights]
        self.flights.clear()
        self.engine.join()
        self._control()

    def come_too_late(self) -> None:
        """A result of a claim that was lost changes nothing."""
        claimed = self.choose(self.stale)
        self.engine.complete(Completion(claimed, "succeeded", 0.1, output="-1"))

    def let_time_pass(self) -> None:
        StepRun.objects.filter(tenant=self.tenant, due_at__isnull=False).update(due_at=LONG_AGO)
        clock.due(self.connection)
        for run in self.runs.values():
            run.due()

    def close(self) -> None:
        kind = self.choose(("cancel", "timeout", "deadline"))
        run_id = self.choose(list(self.runs))
        run = self.runs[run_id]
        if run.state in model.TERMINAL:
            return
        if kind == "cancel":
            cancel_run(tenant=self.tenant, run_id=run_id, actor=SYSTEM)
        else:
            row = Run.objects.filter(pk=run_id)
            row.update(expires_at=LONG_AGO)
            row.filter(closing=None, pk=run_id).update(
                deadline_at=LONG_AGO if kind == "deadline" else None
            )
            clock.expire(self.connection)
        run.close(kind)
        self._control()

    # -- what must hold ------------------------------------------------------------------------

    def compare(self) -> None:
        rows = StepRun.objects.filter(tenant=self.tenant, batch=0).order_by("ordinal")
        found: dict[UUID, list[tuple[object, ...]]] = {run_id: [] for run_id in self.runs}
        for row in rows:
            output = None if row.output is None else jsonvalue.decode(row.output)
            found[row.run_id].append((row.state, row.attempts, row.losses, row.handled, output))
        for run_id, run in self.runs.items():
            assert found[run_id] == [
                (s.state, s.attempts, s.losses, s.handled, s.output) for s in run.steps
            ]
        for ended in Run.objects.filter(tenant=self.tenant):
            run = self.runs[ended.pk]
            output = None if ended.output is None else jsonvalue.decode(ended.output)
            assert (ended.state, ended.closing, output) == (run.state, run.closing, run.output)
        assert clock.reconcile(self.connection) == 0

    # -- how it is done ------------------------------------------------------------------------

    def _plan(self, claimed: Claimed) -> Any:
        self.plans.need(self.connection, [claimed.version_id])
        return self.plans.get(claimed.version_id)

    def _land(self) -> Flight:
        flight = self.choose(self.flights)
        self.flights.remove(flight)
        return flight

    def _conclude(self, flight: Flight, result: object, then: Callable[[model.Step], None]) -> None:
        plan = self._plan(flight.claimed).steps[flight.claimed.ordinal]
        self.engine.complete(
            invoke.conclude(
                plan,
                flight.claimed,
                result,
                seconds=0.1,
                args=flight.arguments,
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
