"""Random workflows with random fates, run by the engine's statements and by the model alike."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from orchestrator.domain.errors import StateConflict
from orchestrator.domain.repairs import Repair, step_repairs
from orchestrator.domain.statuses import RunState, StepState
from orchestrator.domain.undo import COMPENSATION, UNDO
from orchestrator.executor import invoke, saga
from orchestrator.handlers import Abort, Continue, Retry, Skip, Snooze
from orchestrator.models import Run, StepRun
from orchestrator.services import pauses, repairs
from orchestrator.services.runs import cancel_run, submit_run
from orchestrator.services.undoing import undo_run
from orchestrator.services.workflows import publish_workflow
from orchestrator.store import clock, workers
from orchestrator.store.work import Completion
from tenants.actors import SYSTEM
from tests.semantics import model
from tests.semantics.blueprints import modelled
from tests.semantics.model_step import Call, Step
from tests.semantics.table import Flight, Table

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
MOVES = 40


class Semantics(Table):
    """The moves of a game.

    (Not one of hypothesis' own state machines: those may leave out any of the rules in an example,
    while here most are needed for anything to happen; and they want the same moves to be open when
    an example is repeated, while here steps of one rank are claimed in any order.)"""

    def __init__(self, documents: Sequence[dict[str, Any]], choices: Sequence[int]) -> None:
        super().__init__(documents, choices)
        rare = [self.close, self.undo, self.pause_or_resume, self.retry, self.repair]
        rare += [self.skip, self.snooze, self.lose_the_worker]
        self.allowed = {move for move in rare if self.choose((True, False))}
        """Each game leaves out some of the rare moves, so that the others meet more often."""

    def play(self) -> None:
        """A game of so many moves, compared after each; then it is played to its end."""
        self.submit()
        self.engine.join()
        for _ in range(MOVES):
            self.move()
            self.compare()
        for run_id, run in self.runs.items():
            if run.state == "paused":
                self._resume(run_id)
        self.play_to_the_end()
        for run_id, run in self.runs.items():
            if run.undo is None and run.begin_undo():
                undo_run(tenant=self.tenant, run_id=run_id, actor=SYSTEM)
        self.play_to_the_end()

    def play_to_the_end(self) -> None:
        """Nothing goes wrong any more."""
        while any(
            run.state not in model.TERMINAL or run.undo == "running" for run in self.runs.values()
        ):
            self.claim()
            if self.flights:
                self.succeed()
            else:
                self.let_time_pass()
            self.compare()

    def move(self) -> None:
        """One of the moves that are open now; how often each is named is its weight."""
        open_moves = [self.claim] * 6 + [self.let_time_pass] * 2
        rare = [self.close, self.undo, self.pause_or_resume, self.retry, self.repair, self.repair]
        if len(self.runs) < len(self.documents):
            open_moves += [self.submit]
        if self.flights:
            open_moves += [self.succeed] * 4 + [self.fail] * 4
            rare += [self.skip, self.snooze, self.lose_the_worker, self.lose_the_worker]
        open_moves += [move for move in rare if move in self.allowed]
        if any(self._is_told(flight) for flight in self.flights):
            open_moves += [self.heed] * 3
        if self.stale:
            open_moves += [self.come_too_late] * 3
        self.choose(open_moves)()

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
        going = [run for run in self.runs.values() if run.state != "paused"]
        steps = [step for run in going for step in run.steps]
        calls = [call for step in steps for call in (step.compensation, step.undoing) if call]
        every: list[Step | Call] = [*steps, *calls]
        ready = [one for one in every if one.state == "ready"]
        suspects = [one for one in ready if one.suspect]
        alone = self.choose((False, True))
        claims = self.engine.claim(want, alone=alone)
        if alone and suspects:
            assert [claimed.suspect for claimed in claims] == [True]
        else:
            assert len(claims) == min(want, len(ready) - len(suspects))
        for claimed in claims:
            run = self.runs[claimed.run_id]
            step = run.steps[claimed.ordinal]
            call = {COMPENSATION: step.compensation, UNDO: step.undoing}.get(claimed.batch)
            assert (call or step) in ready
            assert claimed.attempts == (call or step).attempts
            plan = self._plan(claimed)
            arguments = invoke.arguments(plan, plan.of(claimed), claimed)
            self.flights.append(Flight(claimed, run, step, arguments, call))
            if call is None:
                run.claim(step)
                assert arguments["parents"] == step.seen
                continue
            run.claim_call(call)
            if call.kind == "undo":
                assert arguments == {"was": step.output}
                assert saga.part(claimed) == ("undo", step.state != "succeeded")
            else:
                code = "aborted" if step.code == "error" else step.code
                assert arguments["why"] in (step.code, code)

    def succeed(self) -> None:
        flight = self._land()
        run = flight.run
        if flight.call is None:
            self._conclude(flight, flight.step.value(), run.succeed)
        elif flight.call.kind == "undo":
            self._conclude(flight, None, lambda step: run.undone(step, "succeeded"))
        else:
            answers = {"continue": Continue(7), "retry": Retry(), "nothing": 8}
            answer = self.choose(sorted(answers))
            self._conclude(flight, answers[answer], lambda step: run.compensated(step, answer, 7))

    def fail(self) -> None:
        for_good = self.choose((True, False))
        error = Abort("no") if for_good else ValueError("no")
        flight = self._land()
        run, call = flight.run, flight.call
        if call is None:
            self._conclude(flight, error, lambda step: run.fail(step, for_good=for_good))
        elif call.kind == "compensate":
            self._conclude(flight, error, lambda step: run.compensated(step, "nothing"))
        else:
            call.attempts += 1
            if for_good or call.attempts >= flight.step.undo_attempts:
                self._conclude(flight, error, lambda step: run.undone(step, "failed"))
            else:
                self._conclude(flight, error, lambda step: run.put_off(step, call))

    def skip(self) -> None:
        flight = self._land()
        run, call = flight.run, flight.call
        skip = {
            "": run.skip,
            "undo": lambda step: run.undone(step, "skipped"),
            "compensate": lambda step: run.compensated(step, "nothing"),
        }[call.kind if call else ""]
        self._conclude(flight, Skip("not today"), skip)

    def snooze(self) -> None:
        flight = self._land()
        run, call = flight.run, flight.call
        snooze = run.snooze if call is None else lambda step: run.put_off(step, call)
        self._conclude(flight, Snooze(for_=timedelta(minutes=1)), snooze)

    def heed(self) -> None:
        """A step of a closing run has been told, and ends."""
        flight = self.choose([f for f in self.flights if self._is_told(f)])
        self.flights.remove(flight)
        self.engine.complete(Completion(flight.claimed, "cancelled", 0.1))
        if flight.call is None:
            flight.run.cancelled(flight.step)
        else:
            flight.run.compensated(flight.step, "nothing")
        self._control()

    def lose_the_worker(self) -> None:
        assert self.engine.worker is not None
        lost, _ = workers.reap(self.connection, self.engine.worker.pk)
        assert lost == len(self.flights)
        for run in self.runs.values():
            mine = [flight for flight in self.flights if flight.run is run]
            run.lose([flight.step for flight in mine if flight.call is None])
            for flight in mine:
                if flight.call is not None:
                    run.lose_call(flight.step, flight.call)
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
        if kind == "cancel" and (run.undo or run.closing not in (None, "cancel")):
            why = "being undone" if run.undo else f"ending already .{run.closing}."
            with pytest.raises(StateConflict, match=why):
                cancel_run(tenant=self.tenant, run_id=run_id, actor=SYSTEM)
        elif kind == "cancel":
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

    def undo(self) -> None:
        """On request: once, of a run that has ended and has something to undo."""
        run_id = self.choose(list(self.runs))
        run = self.runs[run_id]
        if run.state in model.TERMINAL and run.undo is None and run.begin_undo():
            undo_run(tenant=self.tenant, run_id=run_id, actor=SYSTEM)
            return
        with pytest.raises(StateConflict):
            undo_run(tenant=self.tenant, run_id=run_id, actor=SYSTEM)

    def pause_or_resume(self) -> None:
        run_id = self.choose(list(self.runs))
        run = self.runs[run_id]
        if run.state == "paused":
            self._resume(run_id)
        elif run.state in model.TERMINAL or run.closing or run.undo:
            with pytest.raises(StateConflict):
                pauses.pause_run(tenant=self.tenant, run_id=run_id, actor=SYSTEM)
        else:
            pauses.pause_run(tenant=self.tenant, run_id=run_id, actor=SYSTEM)
            run.pause()

    def _resume(self, run_id: UUID) -> None:
        pauses.resume_run(tenant=self.tenant, run_id=run_id, actor=SYSTEM)
        self.runs[run_id].resume()
        self._control()

    def retry(self) -> None:
        """A run, from what failed or from a step."""
        run_id = self.choose(list(self.runs))
        run = self.runs[run_id]
        start = self.choose([None, *run.steps])
        body = {} if start is None else {"from_step": start.name}
        refused = run.state not in model.TERMINAL or (run.state == "succeeded" and start is None)
        refused = refused or run.undo == "running"
        if refused:
            with pytest.raises(StateConflict):
                repairs.retry_run(tenant=self.tenant, run_id=run_id, body=body, actor=SYSTEM)
            return
        repairs.retry_run(tenant=self.tenant, run_id=run_id, body=body, actor=SYSTEM)
        run.retry(start)
        self._forget_parts()
        self._control()

    def _forget_parts(self) -> None:
        """An undo that is made anew begins at epoch 0: its old claims are of workers that are gone,
        whose numbers never come again; here they would speak with the present one's."""
        self.stale = [claimed for claimed in self.stale if claimed.batch != UNDO]

    def repair(self) -> None:
        """A step is retried, completed or skipped, where the model of the states allows it."""
        run_id = self.choose(list(self.runs))
        run = self.runs[run_id]
        step = self.choose(run.steps)
        action = self.choose(list(Repair))
        allowed = action in step_repairs(
            RunState(run.state),
            StepState(step.state),
            closing=run.closing is not None or run.undo == "running",
            backoff=step.state == "waiting" and step.compensation is None,
        )
        if run.undo and action is not Repair.RETRY:
            allowed = False
        if run.undo == "running":
            waits = step.undoing is not None and step.undoing.state in ("ready", "waiting")
            allowed = waits and action is Repair.SKIP
        again = run.downstream([step]) if step.state == "failed" else []
        for other in again if action is Repair.RETRY else [step]:
            call = other.compensation
            if other.state == "running" or (call is not None and call.state == "running"):
                allowed = False
        if not allowed:
            with pytest.raises(StateConflict):
                self._repair(run_id, step, action)
            return
        self._repair(run_id, step, action)
        self._forget_parts()
        if run.undo == "running":
            run.undone(step, "cancelled")
        elif action is Repair.RETRY and step.state == "waiting":
            clock.due(self.connection)
            step.state = "ready"
        elif action is Repair.RETRY and run.state in model.TERMINAL:
            run.retry(step)
        elif action is Repair.RETRY:
            run.reset(again)
        elif action is Repair.COMPLETE:
            run.settle(step, "succeeded", 1000)
        else:
            run.settle(step, "skipped")
        self._control()

    def _repair(self, run_id: UUID, step: Step, action: Repair) -> None:
        if action is Repair.RETRY:
            repairs.retry_step(tenant=self.tenant, run_id=run_id, name=step.name, actor=SYSTEM)
        elif action is Repair.COMPLETE:
            body = {"output": 1000}
            repairs.complete_step(
                tenant=self.tenant, run_id=run_id, name=step.name, body=body, actor=SYSTEM
            )
        else:
            repairs.skip_step(tenant=self.tenant, run_id=run_id, name=step.name, actor=SYSTEM)
