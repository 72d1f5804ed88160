"""What a run does, told plainly: no counters, no batches, no SQL.  The engine is compared with it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tests.semantics.model_step import Call, Step

TERMINAL = ("succeeded", "failed", "skipped", "cancelled")
ENDED_CALL = ("succeeded", "failed", "skipped", "cancelled")
MOST_LOSSES = 3
MOST_EXTRA = 3


@dataclass(eq=False)
class Run:
    """A run of these steps."""

    steps: list[Step]
    fail_fast: bool = False
    asks_all: bool = False
    """Whether the workflow's output is an expression over all steps."""
    state: str = "queued"
    closing: str | None = None
    undo: str | None = None
    started: bool = False

    def begin(self) -> None:
        """Submitted: what has no parents is ready."""
        for step in self.steps:
            for parent in step.parents:
                parent.children.append(step)
        self._decide([step for step in self.steps if not step.parents])

    # -- what happens to a step ---------------------------------------------------------------

    def claim_call(self, call: Call) -> None:
        """A compensation or an undo begins: it may be the first that runs at all of a run whose steps
        were completed by hand."""
        call.state, call.begun = "running", True
        if self.state == "queued":
            self.state = "running"

    def claim(self, step: Step) -> None:
        """A worker has taken it."""
        step.seen = step.kept or [parent.output for parent in step.parents]
        step.state, step.started = "running", True
        self.state, self.started = "running", True

    def succeed(self, step: Step) -> None:
        """Its handler has answered."""
        step.attempts += 1
        self._end(step, "succeeded", output=step.value())

    def skip(self, step: Step) -> None:
        """Its handler wants it skipped."""
        step.attempts += 1
        self._end(step, "skipped")

    def cancelled(self, step: Step) -> None:
        """It was told that the run is closing, and has ended."""
        step.attempts += 1
        step.code = None
        self._end(step, "cancelled")

    def snooze(self, step: Step) -> None:
        """It wants to be called later."""
        if self._stops(step):
            step.code = None
        self._pause(step)

    def fail(self, step: Step, *, for_good: bool) -> None:
        """It has raised an error; one for good is not retried."""
        step.attempts += 1
        step.code = "error"
        if not for_good and step.attempts < step.max_attempts:
            self._pause(step)
        else:
            self._give_up(step)

    def lose(self, steps: Iterable[Step]) -> None:
        """Their process has died."""
        ended = []
        for step in steps:
            step.losses += 1
            step.suspect = True
            step.code = None
            if self._stops(step):
                step.state = "cancelled"
            elif step.losses < MOST_LOSSES:
                step.state = "ready"
                continue
            elif step.on_error is not None:
                step.state, step.output, step.handled = "succeeded", step.on_error, True
            else:
                step.state, step.code = "failed", "lost"
            ended.append(step)
        self._tell(ended)

    def due(self) -> None:
        """Every wait is over."""
        for step in self.steps:
            if step.state == "waiting" and step.compensation is None:
                step.state = "ready"
            for call in (step.compensation, step.undoing):
                if call is not None and call.state == "waiting":
                    call.state = "ready"

    def close(self, kind: str) -> None:
        """Nothing new starts, except `always` steps."""
        if self.closing or self.state in TERMINAL or self.undo:
            return
        self.closing = kind
        self.resume()
        open_ = [step for step in self.steps if step.rule != "always"]
        cut = [
            step
            for step in open_
            if step.state in ("blocked", "ready", "waiting") and step.compensation is None
        ]
        for step in cut:
            step.state = "cancelled"
        for step in open_:
            if step.compensation is not None and step.compensation.state != "running":
                self._decline(step)
        self._tell(cut)
        self._finish()

    # -- compensations and undos ---------------------------------------------------------------

    def compensated(self, step: Step, answer: str, value: int | None = None) -> None:
        """Its compensation has answered: continue, retry, or nothing of use."""
        if answer == "continue":
            step.compensation, step.handled = None, True
            self._end(step, "succeeded", output=value)
        elif answer == "retry" and step.extra < MOST_EXTRA and not self._stops(step):
            step.compensation, step.state = None, "ready"
            step.extra += 1
        else:
            self._decline(step)

    def undone(self, step: Step, state: str) -> None:
        """Its undo has ended, well or not."""
        assert step.undoing is not None
        step.undoing.state = state
        self._undo()

    def put_off(self, step: Step, call: Call) -> None:
        """A call waits: for a retry, or since it wants to be called later."""
        if call.kind == "compensate" and self._stops(step):
            self._decline(step)
        else:
            call.state = "waiting"

    def lose_call(self, step: Step, call: Call) -> None:
        """Its process has died."""
        call.losses += 1
        call.suspect = True
        if call.losses < MOST_LOSSES and not (call.kind == "compensate" and self._stops(step)):
            call.state = "ready"
        elif call.kind == "undo":
            self.undone(step, "failed")
        else:
            self._decline(step)

    def begin_undo(self) -> bool:
        """Undo it from now on; False: there is nothing to undo."""
        todo = [step for step in self.steps if step.undoable()]
        if not todo:
            return False
        self.undo = "running"
        for step in todo:
            step.undoing = Call("undo", "blocked")
        self._undo()
        return True

    def _undo(self) -> None:
        calls = {step: step.undoing for step in self.steps if step.undoing is not None}
        open_ = {step for step, call in calls.items() if call.state not in ENDED_CALL}
        for step, call in calls.items():
            if call.state == "blocked" and not step.after() & open_:
                call.state = "ready"
        if not open_:
            failed = any(call.state in ("failed", "cancelled") for call in calls.values())
            self.undo = "failed" if failed else "succeeded"
            if self.state not in TERMINAL:
                self.state = "failed"

    def _decline(self, step: Step) -> None:
        step.compensation, step.declined, step.state = None, True, "failed"
        self._tell([step])

    def _may_compensate(self, step: Step) -> bool:
        return (
            step.state == "failed"
            and step.compensates
            and not step.declined
            and not self._stops(step)
        )

    # -- what is done by hand ------------------------------------------------------------------

    def pause(self) -> None:
        """Nothing new starts; what runs, ends."""
        self.state = "paused"

    def resume(self) -> None:
        """It goes on where it was."""
        if self.state == "paused":
            self.state = "running" if self.started else "queued"
            self._finish()

    def downstream(self, seeds: Iterable[Step]) -> list[Step]:
        """These steps and all that follow them."""
        found = dict.fromkeys(seeds)
        todo = list(found)
        while todo:
            new = [child for child in todo.pop().children if child not in found]
            found |= dict.fromkeys(new)
            todo += new
        return list(found)

    def untried(self, seeds: list[Step]) -> list[Step]:
        """What follows these steps and was never tried."""
        found = dict.fromkeys(seeds)
        todo = list(found)
        while todo:
            new = [
                child
                for child in todo.pop().children
                if child not in found
                and (child.state == "cancelled" or (child.state == "skipped" and child.by_rule))
            ]
            found |= dict.fromkeys(new)
            todo += new
        return [step for step in found if step not in seeds]

    def cut_short(self) -> list[Step]:
        """Steps without an end of their own."""
        return [step for step in self.steps if step.state == "cancelled"]

    def retry(self, start: Step | None) -> None:
        """Run again what failed, or this step; and what was cancelled, and what follows."""
        failed = [s for s in self.steps if s.state == "failed" and not s.handled]
        seeds = [start] if start is not None else failed
        # an undo that was given up before it was ever called has taken nothing back
        seeds += [step for step in self.steps if step.undoing is not None and step.undoing.begun]
        seeds = self.downstream(seeds + self.cut_short())
        self._reopen()
        self.reset(seeds)

    def _reopen(self) -> None:
        self.state, self.closing, self.started, self.undo = "running", None, True, None
        for step in self.steps:
            step.undoing = None
            if step.state == "failed":
                step.handled = False

    def reset(self, steps: list[Step]) -> None:
        """Let these steps run anew; the rest keep what they have."""
        for step in steps:
            step.state, step.output = "blocked", None
            step.told = step.handled = step.suspect = step.by_rule = False
            step.started = step.declined = False
            step.attempts = step.losses = step.extra = 0
            step.kept = step.code = step.compensation = None
        self._tell(self._decide(self.steps))

    def settle(self, step: Step, state: str, output: int | None = None) -> None:
        """End a step by hand."""
        if step.state != "failed":
            step.compensation = None
            self._end(step, state, output)
            return
        over = self.state == "failed"
        again = self.downstream([s for s in self.cut_short() if s is not step]) if over else []
        again = list(dict.fromkeys(again + self.untried([*again, step])))
        if over:
            self._reopen()
        step.handled = state == "succeeded"
        step.state, step.output, step.suspect = state, output, False
        self.reset([other for other in again if other is not step])

    # -- what follows from it ------------------------------------------------------------------

    def _stops(self, step: Step) -> bool:
        """Whether nothing of this step may start any more."""
        return bool(self.closing) and step.rule != "always"

    def _pause(self, step: Step) -> None:
        if self._stops(step):
            self._end(step, "cancelled")
        else:
            step.state = "waiting"
            step.kept = step.seen

    def _give_up(self, step: Step) -> None:
        if step.on_error is None:
            self._end(step, "failed")
        else:
            step.handled = True
            self._end(step, "succeeded", output=step.on_error)

    def _end(self, step: Step, state: str, output: int | None = None) -> None:
        step.state, step.output = state, output
        step.suspect = False
        self._tell([step])

    def _tell(self, ended: list[Step]) -> None:
        """Children learn of the ends of their parents, generation by generation.

        A failed step with a compensation has not ended."""
        saved = [step for step in ended if self._may_compensate(step)]
        for step in saved:
            step.state, step.compensation, step.kept = "waiting", Call("compensate"), None
        ended = [step for step in ended if step not in saved]
        while ended:
            for step in ended:
                step.told = True
            failed = [step for step in ended if step.state == "failed"]
            children = [child for step in ended for child in step.children]
            skipped = self._decide(dict.fromkeys(children))
            self._finish()
            unanswered = [
                step
                for step in failed
                if not any(child.rule == "one_failed" for child in step.children)
            ]
            if self.fail_fast and unanswered and not all(step.told for step in self.steps):
                self.close("fail_fast")
            ended = skipped
        self._finish()

    def _decide(self, steps: Iterable[Step]) -> list[Step]:
        skipped = []
        for step in steps:
            if step.state != "blocked":
                continue
            verdict = step.verdict()
            if verdict == "skipped":
                step.state, step.by_rule = "skipped", True
                skipped.append(step)
            elif verdict == "ready":
                step.state = "ready"
        return skipped

    def conditions(self) -> None:
        """What is ready and has a condition is asked whether it may run."""
        if self.state == "paused":
            return
        while asked := [s for s in self.steps if s.state == "ready" and not s.condition]:
            for step in asked:
                step.state = "skipped"
            self._tell(asked)

    def _finish(self) -> None:
        if self.state in (*TERMINAL, "paused") or not all(step.told for step in self.steps):
            return
        if self.undo:
            return
        for step in self.steps:
            if step.state == "failed":
                step.handled = any(
                    child.rule == "one_failed" and child.state == "succeeded"
                    for child in step.children
                )
        unhandled = any(step.state == "failed" and not step.handled for step in self.steps)
        if self.closing == "cancel":
            self.state = "cancelled"
        elif self.closing in ("timeout", "deadline") or unhandled:
            if not self.begin_undo():
                self.state = "failed"
        else:
            self.state = "succeeded"

    @property
    def output(self) -> object:
        """What the run answers."""
        if self.state != "succeeded":
            return None
        if self.asks_all:
            return [step.output for step in self.steps]
        leaves = [step for step in self.steps if not step.children]
        if len(leaves) == 1:
            return leaves[0].output
        return {leaf.name: leaf.output for leaf in leaves}
