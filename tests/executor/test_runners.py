"""Runners of handlers, the event loop and threads: whatever is begun lands, once."""

from __future__ import annotations

import asyncio
import ctypes
import queue
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial

import pytest

from orchestrator.executor import threads as runner
from orchestrator.executor.flights import Flight, Landing
from orchestrator.executor.loop import Loop
from orchestrator.executor.threads import CutOff, Threads
from orchestrator.handlers import StepContext
from tests.executor.flying import flight

LANDS_WITHIN_S = 10.0


def landed(landing: Landing, count: int = 1) -> list[tuple[Flight, object]]:
    """What has landed, once it is so many."""
    found: list[tuple[Flight, object]] = []
    end = time.monotonic() + LANDS_WITHIN_S
    while len(found) < count and time.monotonic() < end:
        landing.wait(0.1)
        found += landing.take()
    assert len(found) == count
    return found


async def never(ctx: StepContext) -> None:
    """Wait for ever."""
    await asyncio.Event().wait()


def test_a_coroutine_lands_with_what_it_answers_or_raises() -> None:
    async def answers(ctx: StepContext) -> int:
        return 1

    async def raises(ctx: StepContext) -> int:
        raise SystemExit(2)

    landing = Landing()
    loop = Loop(landing)
    loop.start([flight(answers), flight(raises)])
    results = [result for _, result in landed(landing, 2)]
    assert results[0] == 1
    assert isinstance(results[1], SystemExit)


@pytest.mark.parametrize("blocked", [True, False])
def test_a_cancelled_coroutine_lands_even_if_it_had_no_turn_yet(blocked: bool) -> None:
    landing = Landing()
    loop = Loop(landing)
    free = threading.Event()
    if blocked:
        loop._loop.call_soon_threadsafe(free.wait)
    one = flight(never)
    loop.start([one])
    loop.cancel(one)
    free.set()
    ((who, result),) = landed(landing)
    assert who is one
    assert isinstance(result, asyncio.CancelledError)


def _until(begun: queue.SimpleQueue[int], ends: threading.Event, ctx: StepContext) -> None:
    """A handler that ends when it is told to."""
    begun.put(threading.get_ident())
    ends.wait()


def stands_still(ident: int) -> None:
    """Wait until a thread waits, in the runner's own code, and no longer in its handler's."""
    seen: list[int] = []
    while len(seen) < 10 or len(set(seen[-10:])) > 1:
        time.sleep(0.001)
        frame = sys._current_frames()[ident]
        if frame.f_code.co_filename == runner.__file__:
            seen.append(frame.f_lasti)


@pytest.fixture
def untraced() -> Iterator[None]:
    """Threads that begin meanwhile are not traced: what is cannot be cut off (see Threads.cut)."""
    tracer = threading.gettrace()
    threading.settrace(None)
    yield
    threading.settrace(tracer)


@pytest.mark.usefixtures("untraced")
def test_what_is_cut_off_just_as_it_ends_lands_once_and_its_thread_goes_on() -> None:
    landing = Landing()
    threads = Threads(landing)
    idents: set[int] = set()
    for _ in range(3):
        ends = threading.Event()
        begun: queue.SimpleQueue[int] = queue.SimpleQueue()
        one = flight(partial(_until, begun, ends))
        threads.start(one)
        ident = begun.get()
        idents.add(ident)
        with threads._lock:  # as `cut` does, which came first
            ends.set()
            stands_still(ident)
            ctypes.pythonapi.PyThreadState_SetAsyncExc(
                ctypes.c_ulong(ident), ctypes.py_object(CutOff)
            )
        ((who, _),) = landed(landing)
        assert who is one
        assert one not in threads._at
    assert landing.take() == []
    assert len(idents) == 1
