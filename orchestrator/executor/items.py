"""Calling a handler for each item of a map's batch: in order, or side by side where it is async."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from orchestrator.executor.gates import Gate, Ticket
from orchestrator.handlers import Continue, HandlerSpec, Skip, Snooze, StepContext

AT_ONCE = 1_000
"""Coroutines of one batch that run side by side."""


class Interrupted(Exception):
    """The attempt was asked to end (cancel, timeout, drain), and ended between two items."""


class _Enough(Exception):
    """An item has failed for good: the others of the batch need not go on."""


def call(spec: HandlerSpec, context: StepContext, args: dict[str, Any]) -> Any:
    """Call the handler; of a coroutine function: its coroutine."""
    if spec.takes_context:
        return spec.function(context, **args)
    return spec.function(**args)


def _contexts(context: StepContext) -> Callable[[int], StepContext]:
    """What makes an item's context, by its index.  (`replace` takes twice as long, for each item.)"""
    names = [known.name for known in fields(context)]
    values = [getattr(context, name) for name in names]
    at = names.index("item_index")

    def of_item(index: int) -> StepContext:
        values[at] = index
        return StepContext(*values)

    return of_item


def is_failure(outcome: object) -> bool:
    """Whether what a handler returned or raised is a failure, for good or until a retry."""
    return isinstance(outcome, BaseException) and not isinstance(outcome, (Continue, Skip, Snooze))


@dataclass(slots=True, eq=False)
class ItemCalls:
    """The calls of one attempt of a batch; `places` are the items that are left to do.

    `results` has what each came to, a value or an exception, in the order in which they ended; it
    is written while the attempt runs, so that what has ended counts even if the rest is cut off."""

    first: int
    """The index, in the whole map, of the item at place 0."""
    places: Sequence[int]
    arguments: Callable[[int], dict[str, Any]]
    """The arguments for a place.  May raise, which is that item's failure."""
    stop_at_failure: bool
    is_final: Callable[[int, BaseException], bool]
    """Whether a place's failure has no retry."""
    gate: Gate | None = None
    """Which items may be called: those whose host is held off may not."""
    tickets: dict[int, Ticket] = field(default_factory=dict)
    """Of places that were sent to a helper process through the gate."""
    results: dict[int, object] = field(default_factory=dict)
    _stopping: bool = False

    def run(self, spec: HandlerSpec, context: StepContext) -> None:
        """One after the other."""
        of_item = _contexts(context)
        for place in self.places:
            if context.cancelled:
                raise Interrupted("it was asked to end before its last item")
            try:
                outcome = call(spec, of_item(self.first + place), self.arguments(place))
            except Exception as error:
                outcome = error
            self.results[place] = outcome
            if self.stop_at_failure and is_failure(outcome):
                return

    async def run_async(self, spec: HandlerSpec, context: StepContext) -> None:
        """Side by side: each worker that finds an item starts the next one before it does it, so that
        items which never wait are done by two of them, and all others are under way at once."""
        left = iter(self.places)
        of_item = _contexts(context)
        workers = 0

        async def work() -> None:
            nonlocal workers
            new = True
            for place in left:
                if new:
                    new = False
                    workers += 1
                    if workers < most:
                        group.create_task(work())
                outcome = await self._one(spec, of_item(self.first + place), place)
                self.results[place] = outcome
                if self.stop_at_failure and is_failure(outcome) and self.is_final(place, outcome):
                    self._stopping = True
                    raise _Enough

        most = min(len(self.places), AT_ONCE)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(work())
        except* _Enough:
            pass

    async def _one(self, spec: HandlerSpec, context: StepContext, place: int) -> Any:
        try:
            args = self.arguments(place)
            if self.gate is not None:
                return await self._pass(self.gate, spec, context, args)
            return await call(spec, context, args)
        except asyncio.CancelledError as error:
            if self._stopping or context.cancelled:
                raise
            return error  # the handler's own doing
        except Exception as error:
            return error

    async def _pass(
        self, gate: Gate, spec: HandlerSpec, context: StepContext, args: dict[str, Any]
    ) -> Any:
        ticket = gate.enter(args)
        if ticket.held is not None:
            return ticket.held
        outcome: Any
        try:
            outcome = await call(spec, context, args)
        except Exception as error:
            outcome = error
        gate.leave(ticket, outcome)
        return outcome

    def each_arguments(self) -> Iterator[dict[str, Any]]:
        """The arguments of each place that has some."""
        for place in self.places:
            try:
                yield self.arguments(place)
            except Exception:  # noqa: S112  (it will be that item's failure)
                continue

    def message(self) -> dict[str, object]:
        """What a helper process needs: the arguments of each place; those that fail have failed."""
        calls: list[list[object]] = []
        for place in self.places:
            try:
                args = self.arguments(place)
            except Exception as error:
                self.results[place] = error
                if self.stop_at_failure:
                    break
                continue
            if self.gate is not None:
                self.tickets[place] = ticket = self.gate.enter(args)
                if ticket.held is not None:
                    self.results[place] = ticket.held
                    continue
            calls.append([place, args])
        return {"calls": calls, "first": self.first, "stop": self.stop_at_failure}


def calls_of(message: dict[str, Any]) -> ItemCalls:
    """The calls that a message of `ItemCalls.message` asks for."""
    args: dict[int, dict[str, Any]] = dict(message["calls"])
    return ItemCalls(
        first=message["first"],
        places=list(args),
        arguments=args.__getitem__,
        stop_at_failure=message["stop"],
        is_final=lambda _place, _error: True,
    )
