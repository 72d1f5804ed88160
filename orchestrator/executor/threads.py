"""Blocking handlers: threads that grow on demand, one step each at a time."""

from __future__ import annotations

import ctypes
import logging
import queue
import sys
import threading

from orchestrator import logs, tracing
from orchestrator.executor.flights import Flight, Landing
from orchestrator.executor.items import call

logger = logging.getLogger(__name__)


class CutOff(BaseException):
    """Raised inside a blocking handler that outlived its timeout, cancel or drain."""


class Threads:
    """Runs plain functions of handlers."""

    def __init__(self, landing: Landing) -> None:
        self._landing = landing
        self._waiting: queue.SimpleQueue[Flight] = queue.SimpleQueue()
        self._idle = 0
        self._lock = threading.Lock()
        self._at: dict[Flight, int] = {}

    def start(self, flight: Flight) -> None:
        """Begin it, in a thread that is free or new."""
        with self._lock:
            grow = self._idle == 0
            if not grow:
                self._idle -= 1
        self._waiting.put(flight)
        if grow:
            threading.Thread(target=self._run, name="handler", daemon=True).start()

    def cut(self, flight: Flight) -> None:
        """Raise CutOff in its code at the next bytecode (a call into C ends first).

        Not in a process that is traced (debugged): CPython 3.11 would spin until it is received."""
        if sys.gettrace() is not None:
            return
        with self._lock:
            ident = self._at.get(flight)
            if ident is not None:
                ctypes.pythonapi.PyThreadState_SetAsyncExc(
                    ctypes.c_ulong(ident), ctypes.py_object(CutOff)
                )

    def _run(self) -> None:
        while True:
            self._fly(self._waiting.get())

    def _fly(self, flight: Flight) -> None:
        spec = flight.plan.spec
        assert spec is not None
        result: object = None
        place: object = None
        try:
            with self._lock:
                self._at[flight] = threading.get_ident()
            logs.step.set(flight.context)
            place = tracing.enter(flight.context.traceparent)
            if flight.work is not None:
                result = flight.work.run(spec, flight.context)
            else:
                result = call(spec, flight.context, flight.args)
        except BaseException as error:
            result = error
        try:
            self._land(flight, result)
        except CutOff:  # it came when the code had ended; there is one at most
            self._land(flight, result)
        tracing.leave(place)

    def _land(self, flight: Flight, result: object) -> None:
        """The code has ended.  A CutOff may interrupt this once, until `_at` is left; it is done again then."""
        try:
            flight.session.close()
        except Exception:
            logger.exception("a step's connection was not given back")
        with self._lock:
            if flight in self._at:
                del self._at[flight]  # no call: these two are done both, or neither
                self._idle += 1
        self._landing.put(flight, result)
        self._landing.ring()
