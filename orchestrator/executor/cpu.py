"""Steps that run in a helper process each, spoken to over pipes and killed when they must end: those
of the queue `cpu`, and any that a process died under before.

Celery's prefork children are daemonic and may not fork pools, hence `subprocess`."""

from __future__ import annotations

import contextlib
import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Any

from orchestrator.domain.steplog import Line
from orchestrator.executor import invoke
from orchestrator.executor.flights import Flight, Landing
from orchestrator.executor.invoke import Encoded, Fault, Reported
from orchestrator.executor.items import ItemCalls
from orchestrator.handlers import Abort, Retry, Skip, Snooze
from tenants.connections import Pools

START_S = 60.0
"""What a helper process may take until its step begins, before that counts as the step's own time."""
IDLE_S = 5.0
"""A helper process beyond the `cpu_limit` ends when it has had nothing to do for so long."""


class HelperLost(Exception):
    """The helper process died under its step."""


@dataclass(frozen=True, slots=True)
class Answers:
    """What came of the items of a batch, and what ended their attempt before the last one, if anything."""

    outcomes: dict[int, object]
    ended_by: object


class Helper:
    """One helper process: it imports the handlers once and runs one step at a time."""

    def __init__(
        self, landing: Landing, pools: Pools, free: Callable[[Helper, Flight], None]
    ) -> None:
        self._landing = landing
        self._pools = pools
        self._free = free
        self._process: subprocess.Popen[bytes] | None = None
        self._write: IO[bytes] | None = None
        self._flight: Flight | None = None
        self._lock = threading.Lock()

    def start(self, flight: Flight) -> None:
        """Begin it; the process is started when there is none."""
        with self._lock:
            assert self._flight is None
            self._flight = flight
            # until it has begun: a new process takes its time
            flight.pulse.at = math.inf
            flight.deadline += START_S
            if self._process is None or self._process.poll() is not None:
                self._spawn()
            assert flight.plan.spec is not None
            context = flight.context
            self._send(
                {
                    "run": flight.plan.spec.name,
                    "args": flight.args,
                    "secrets": list(invoke.secrets_of(flight.claimed).values()),
                    **(flight.work.message() if flight.work is not None else {}),
                    "tenant": flight.claimed.tenant_id,
                    "context": {
                        "tenant": context.tenant,
                        "run_id": str(context.run_id),
                        "step": context.step,
                        "index": context.index,
                        "attempt": context.attempt,
                        "labels": context.labels,
                        "repetition": context.repetition,
                        "uncertain": context.uncertain,
                        "_part": context._part,
                        "progress": context.progress,
                        "traceparent": context.traceparent,
                    },
                }
            )

    def cancel(self, flight: Flight) -> None:
        """Tell the step: `ctx.cancelled`, and CancelledError in a coroutine."""
        with self._lock:
            if self._flight is flight:
                self._send({"cancel": True})

    def kill(self, flight: Flight) -> None:
        """End the process, and the step with it."""
        with self._lock:
            if self._flight is flight and self._process is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self._process.pid, signal.SIGKILL)

    def stop(self) -> None:
        """End an idle helper."""
        with self._lock:
            if self._process is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()
                self._process = None
            self._close()

    def _close(self) -> None:
        """Let go of the pipe to a process that is gone."""
        if self._write is not None:
            with contextlib.suppress(OSError):
                self._write.close()
            self._write = None

    def _spawn(self) -> None:
        self._close()
        down_read, down_write = os.pipe()
        up_read, up_write = os.pipe()
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "orchestrator.executor.helper",
                str(down_read),
                str(up_write),
                str(os.getpid()),
            ],
            pass_fds=(down_read, up_write),
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(down_read)
        os.close(up_write)
        self._write = os.fdopen(down_write, "wb", buffering=0)
        reader = threading.Thread(
            target=self._read,
            args=(self._process, os.fdopen(up_read, "rb")),
            name="helper",
            daemon=True,
        )
        reader.start()

    def _send(self, message: dict[str, object]) -> None:
        assert self._write is not None
        with contextlib.suppress(OSError):  # it died: the reader notices
            self._write.write(json.dumps(message).encode() + b"\n")

    def _read(self, process: subprocess.Popen[bytes], lines: IO[bytes]) -> None:
        with lines:
            for line in lines:
                if not line.endswith(b"\n"):
                    break  # it was killed while it wrote this
                self._hear(json.loads(line))
        process.wait()
        with self._lock:
            if process is not self._process:
                return  # it died with nothing to do, and another has its place
        self._land(HelperLost(f"its process ended with {process.returncode}"))

    def _hear(self, message: dict[str, Any]) -> None:
        if message["word"] == "begun":
            self._begun()
        elif message["word"] == "beat":
            self._beat(message["text"])
        elif message["word"] == "log":
            self._log(message["lines"])
        elif message["word"] == "session":
            self._session(message["pid"])
        elif message["word"] == "waited":
            self._pools.waited(message["tenant"], message["seconds"])
        else:
            self._land(_result(message))

    def _begun(self) -> None:
        with self._lock:
            if self._flight is not None:
                self._flight.pulse.at = now = time.monotonic()
                self._flight.deadline = now + self._flight.plan.timeout_s

    def _beat(self, text: str | None) -> None:
        with self._lock:
            if self._flight is not None:
                self._flight.pulse.beat(text)

    def _log(self, lines: list[list[Any]]) -> None:
        with self._lock:
            if self._flight is not None:
                for line in lines:
                    self._flight.context._lines.pass_on(Line(*line))

    def _session(self, pid: int | None) -> None:
        """The step has opened its connection: who is to be ended when the helper is killed."""
        with self._lock:
            if self._flight is not None:
                self._flight.session.elsewhere_pid = pid

    def _land(self, result: object) -> None:
        with self._lock:
            flight, self._flight = self._flight, None
        if flight is not None:
            if isinstance(result, Answers) and isinstance(flight.work, ItemCalls):
                flight.work.results |= result.outcomes
                result = result.ended_by
            self._free(self, flight)
            self._landing.put(flight, result)
            self._landing.ring()


class Helpers:
    """As many helper processes as steps need at once: used by the control loop, freed by readers, tidied
    by the thread that looks for work."""

    def __init__(self, landing: Landing, pools: Pools, *, keep: int) -> None:
        self._landing = landing
        self._pools = pools
        self._keep = keep
        self._busy: dict[Flight, Helper] = {}
        self._idle: list[tuple[Helper, float]] = []
        self._lock = threading.Lock()

    def start(self, flight: Flight) -> None:
        """Begin it in a process that has nothing else to do, or a new one."""
        with self._lock:
            helper = (
                self._idle.pop()[0]
                if self._idle
                else Helper(self._landing, self._pools, self._freed)
            )
            self._busy[flight] = helper
        helper.start(flight)

    def cancel(self, flight: Flight) -> None:
        """Tell the step: `ctx.cancelled`, and CancelledError in a coroutine."""
        if (helper := self._of(flight)) is not None:
            helper.cancel(flight)

    def kill(self, flight: Flight) -> None:
        """End its process, and the step with it."""
        if (helper := self._of(flight)) is not None:
            helper.kill(flight)

    def tidy(self) -> None:
        """End processes beyond those to keep that have had nothing to do for a while."""
        if len(self._idle) <= self._keep:
            return
        before = time.monotonic() - IDLE_S
        with self._lock:
            spare = [one for one in self._idle if one[1] <= before][: len(self._idle) - self._keep]
            self._idle = [one for one in self._idle if one not in spare]
        for helper, _ in spare:
            helper.stop()

    def stop(self) -> None:
        """End those that have nothing to do."""
        with self._lock:
            idle, self._idle = self._idle, []
        for helper, _ in idle:
            helper.stop()

    def _of(self, flight: Flight) -> Helper | None:
        with self._lock:
            return self._busy.get(flight)

    def _freed(self, helper: Helper, flight: Flight) -> None:
        with self._lock:
            del self._busy[flight]
            self._idle.append((helper, time.monotonic()))


def _result(message: dict[str, Any]) -> object:
    """A helper's answer as what the handler returned or raised."""
    word, text = message["word"], str(message.get("text", ""))
    if word == "items":
        outcomes = {place: _result(found) for place, found in message["items"]}
        ended_by = message["ended_by"]
        return Answers(outcomes, None if ended_by is None else _result(ended_by))
    after = message.get("after_s")
    if word == "value":
        return Encoded(text)
    if word == "continue":
        return Encoded(text, continues=True)
    if word == "abort":
        return Abort(text)
    if word == "retry":
        return Retry(text, after=None if after is None else float(str(after)))
    if word == "snooze":
        return Snooze(float(str(after)))
    if word == "skip":
        return Skip(text)
    if word == "bad_value":
        return Fault("invalid_output", text, retry=False)
    names = message.get("names")
    return Reported(
        str(message.get("kind")),
        text,
        tuple(names) if isinstance(names, list) else (),
        str(message.get("trace", "")),
    )
