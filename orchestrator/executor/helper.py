"""A helper process of the executor: `python -m orchestrator.executor.helper READ WRITE PARENT`.

Lines of JSON over two pipes: a step to run comes in, what became of it goes out."""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import queue
import sys
import threading
import time
import traceback
from collections.abc import Callable, Coroutine
from typing import IO
from uuid import UUID

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "orchestrator.settings")
django.setup()

from orchestrator import logs, tracing
from orchestrator.conf import conf
from orchestrator.domain import jsonvalue
from orchestrator.domain.masking import Mask, mask_output, masks
from orchestrator.domain.retries import error_names
from orchestrator.domain.steplog import Lines, as_text
from orchestrator.executor.invoke import Encoded, Fault
from orchestrator.executor.items import ItemCalls, call, calls_of
from orchestrator.executor.lifeline import die_with_parent
from orchestrator.executor.logs import limits
from orchestrator.executor.reading import Read, read_of
from orchestrator.handlers import (
    Abort,
    Continue,
    HandlerSpec,
    Pulse,
    Retry,
    Skip,
    Snooze,
    StepContext,
    Stop,
    registry,
)
from orchestrator.services.sessions import make_pools
from tenants import fence
from tenants.connections import Session

BEAT_EVERY_S = 0.05
"""At most one heartbeat in so long goes over the pipe."""


class Answers:
    """The pipe to the worker: what became of steps, and their heartbeats and log lines before it."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self._pipe = pipe
        self._lock = threading.Lock()
        self._pulse: Pulse | None = None
        self._lines: Lines | None = None
        self._told = 0
        self._told_at = 0.0
        self._beaten = threading.Event()
        threading.Thread(target=self._report, name="heartbeats", daemon=True).start()

    def pulse(self) -> Pulse:
        """Signs of life of the next step, which begins now."""
        with self._lock:
            self._send({"word": "begun"})
            self._told = 0
            self._pulse = Pulse(self._notice)
            return self._pulse

    def lines(self, mask: Mask) -> Lines:
        """Where the step's log lines go, which has begun."""
        with self._lock:
            self._lines = Lines(limits(conf()), mask, lambda _: self._notice())
            return self._lines

    def end(self, message: dict[str, object]) -> None:
        """The step has ended; its last heartbeat and its lines go first."""
        self._tell()
        with self._lock:
            self._pulse = self._lines = None
            self._send(message)

    def session(self, pid: int | None) -> None:
        """The step has opened its connection, which this process of the server serves."""
        with self._lock:
            self._send({"word": "session", "pid": pid})

    def waited(self, tenant_id: int, seconds: float) -> None:
        """The step has waited for its connection."""
        with self._lock:
            self._send({"word": "waited", "tenant": tenant_id, "seconds": seconds})

    def _notice(self) -> None:
        """A heartbeat or a line: told at once, or with others a little later."""
        if time.monotonic() - self._told_at >= BEAT_EVERY_S:
            self._tell()
        else:
            self._beaten.set()

    def _report(self) -> None:
        while True:
            self._beaten.wait()
            time.sleep(BEAT_EVERY_S)
            self._beaten.clear()
            self._tell()

    def _tell(self) -> None:
        with self._lock:
            pulse = self._pulse
            if pulse is not None and pulse.count != self._told:
                self._told = pulse.count
                self._told_at = time.monotonic()
                self._send({"word": "beat", "text": pulse.text})
            if self._lines:
                self._told_at = time.monotonic()
                self._send({"word": "log", "lines": self._lines.take()})

    def _send(self, message: dict[str, object]) -> None:
        self._pipe.write(json.dumps(message).encode() + b"\n")
        self._pipe.flush()


class Ended(Stop):
    """The same for a coroutine: asked to end, it is cancelled."""

    __slots__ = ("_cancel", "_lock")

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        self._cancel: Callable[[], object] | None = None

    def ask(self) -> None:
        """From another thread: the step is to end."""
        with self._lock:
            self.asked = True
            if self._cancel is not None:
                self._cancel()

    async def heed(self, running: Coroutine[object, object, object]) -> object:
        """What the coroutine answers.  Raises CancelledError in it once the step is to end."""
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        with self._lock:
            self._cancel = lambda: loop.call_soon_threadsafe(task.cancel)
            if self.asked:
                task.cancel()
        try:
            return await running
        finally:
            with self._lock:
                self._cancel = None


def main() -> None:
    """Run steps until the pipe closes."""
    down, up, parent = (int(argument) for argument in sys.argv[1:4])
    die_with_parent(parent)
    fence.serve_as(fence.Standing(fence.WORKER))
    registry.load()
    mask_output()
    tracing.start()
    steps: queue.SimpleQueue[tuple[dict[str, object], Ended] | None] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(down, steps), daemon=True).start()
    with os.fdopen(up, "wb") as pipe:
        answers = Answers(pipe)
        pools = make_pools(conf(), on_wait=answers.waited)
        while (step := steps.get()) is not None:
            session = Session(pools, int(str(step[0]["tenant"])), told=answers.session)
            answers.end(_run(*step, answers, session))


def _listen(down: int, steps: queue.SimpleQueue[tuple[dict[str, object], Ended] | None]) -> None:
    stop = Ended()
    with os.fdopen(down, "rb") as lines:
        for line in lines:
            message = json.loads(line)
            if "cancel" in message:
                stop.ask()
                continue
            stop = Ended()
            steps.put((message, stop))
    steps.put(None)


def _run(
    message: dict[str, object], stop: Ended, answers: Answers, session: Session
) -> dict[str, object]:
    """Run one step; answers what became of it, in words that `cpu._result` reads."""
    spec = registry.get(str(message["run"]))
    facts, args, values = message["context"], message["args"], message["secrets"]
    assert isinstance(values, list)
    mask = masks.of(values)
    assert spec is not None
    assert isinstance(facts, dict)
    assert isinstance(args, dict)
    context = StepContext(
        **{**facts, "run_id": UUID(facts["run_id"])},
        _stop=stop,
        _pulse=answers.pulse(),
        _session=session,
        _lines=answers.lines(mask),
    )
    work = (
        calls_of(message)
        if "calls" in message
        else read_of(message, mask)
        if "read" in message
        else None
    )
    value: object
    logs.step.set(context)
    place = tracing.enter(context.traceparent)
    try:
        if work is not None:
            value = _work(work, spec, context, stop)
        else:
            value = call(spec, context, args)
            if inspect.iscoroutine(value):
                value = asyncio.run(stop.heed(value))
    except BaseException as error:
        value = error
    session.close()
    tracing.leave(place)
    logs.step.set(None)
    if isinstance(work, ItemCalls):
        items = [[place, _describe(found)] for place, found in work.results.items()]
        ended_by = _describe(value) if isinstance(value, BaseException) else None
        return {"word": "items", "items": items, "ended_by": ended_by}
    return _describe(value)


def _work(work: ItemCalls | Read, spec: HandlerSpec, context: StepContext, stop: Ended) -> object:
    """A piece of a map's work, as its handler's kind asks for."""
    if spec.is_async:
        return asyncio.run(stop.heed(work.run_async(spec, context)))
    return work.run(spec, context)


def _describe(value: object) -> dict[str, object]:
    if isinstance(value, Encoded):
        return {"word": "value", "text": value.text}
    if isinstance(value, Fault):
        return {"word": "bad_value", "text": str(value)}
    word = "value"
    if isinstance(value, Continue):
        word, value = "continue", value.value
    if isinstance(value, Abort):
        return {"word": "abort", "text": as_text(value)}
    if isinstance(value, Retry):
        after = None if value.after is None else value.after.total_seconds()
        return {"word": "retry", "text": as_text(value), "after_s": after}
    if isinstance(value, Snooze):
        return {"word": "snooze", "after_s": value.for_.total_seconds()}
    if isinstance(value, Skip):
        return {"word": "skip", "text": value.reason}
    if not isinstance(value, BaseException):
        try:
            return {
                "word": word,
                "text": jsonvalue.encode(value, max_bytes=conf().payload_bytes),
            }
        except (jsonvalue.NotJson, jsonvalue.TooBig) as error:
            return {"word": "bad_value", "text": f"the result cannot be kept: {error}"}
        except Exception as error:  # of the value's own code
            told = f"{type(error).__name__}: {as_text(error)}"
            return {"word": "bad_value", "text": f"the result cannot be kept: {told}"}
    return {
        "word": "error",
        "text": as_text(value),
        "kind": type(value).__name__,
        "names": list(error_names(type(value))),
        "trace": "".join(traceback.format_exception(value)),
    }


if __name__ == "__main__":
    main()
