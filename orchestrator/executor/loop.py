"""Async handlers: one event loop per process, in a thread of its own."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Sequence
from functools import partial
from typing import cast

from orchestrator import logs, tracing
from orchestrator.executor.flights import Flight, Landing
from orchestrator.executor.items import call

logger = logging.getLogger(__name__)


class Loop:
    """Runs coroutines of handlers; ends of one turn of the loop ring the control loop once."""

    def __init__(self, landing: Landing) -> None:
        self._landing = landing
        self._loop = asyncio.new_event_loop()
        self._ringing = False
        self._thread = threading.Thread(target=self._run, name="handlers", daemon=True)
        self._thread.start()

    def start(self, flights: Sequence[Flight]) -> None:
        """Begin these, in order."""
        self._loop.call_soon_threadsafe(self._begin, flights)

    def cancel(self, flight: Flight) -> None:
        """Cancel its coroutine (CancelledError at its next await)."""
        self._loop.call_soon_threadsafe(self._cancel, flight)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def _begin(self, flights: Sequence[Flight]) -> None:
        for flight in flights:
            flight.handle = task = self._loop.create_task(self._fly(flight))
            # not at the end of `_fly`: what is cancelled before its first turn never gets there
            task.add_done_callback(partial(self._land, flight))

    def _cancel(self, flight: Flight) -> None:
        task = cast("asyncio.Task[object] | None", flight.handle)
        if task is not None:
            task.cancel()

    async def _fly(self, flight: Flight) -> object:
        spec = flight.plan.spec
        assert spec is not None
        result: object
        logs.step.set(flight.context)  # of this task alone
        tracing.enter(flight.context.traceparent)
        try:
            if flight.work is not None:
                result = await flight.work.run_async(spec, flight.context)
            else:
                result = await call(spec, flight.context, flight.args)
        except BaseException as error:
            result = error
        if flight.session.is_open:
            try:
                await flight.session.aclose()
            except BaseException as error:  # a cancel, while it is given back all the same
                logger.debug("a connection was given back behind its step: %r", error)
        return result

    def _land(self, flight: Flight, task: asyncio.Task[object]) -> None:
        self._landing.put(flight, asyncio.CancelledError() if task.cancelled() else task.result())
        if not self._ringing:
            self._ringing = True
            self._loop.call_soon(self._ring)

    def _ring(self) -> None:
        self._ringing = False
        self._landing.ring()
