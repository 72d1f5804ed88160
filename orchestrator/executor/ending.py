"""How a flight ends: its handler's result, or why it was ended, as what is written of it."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import psycopg

from orchestrator.domain.steplog import as_text
from orchestrator.executor import invoke, maps, repeating, saga, secrets
from orchestrator.executor.cpu import HelperLost
from orchestrator.executor.flights import Flight
from orchestrator.store import Connection, work
from orchestrator.store.work import Claimed, Completion

logger = logging.getLogger(__name__)

TIMEOUTS = ("timeout", "heartbeat_timeout")
LOST = '{"code":"lost","message":"The process that ran this step died 3 times.","type":null}'


def conclude(flight: Flight, result: object, *, max_bytes: int) -> Completion:
    """What a flight's result, or the way in which it was asked to end, comes to; secrets hidden.

    Whatever a handler has made of its values and exceptions, which run its code when they are read,
    comes to something: other steps of this process have nothing to do with it."""
    try:
        done = _conclude(flight, result, max_bytes)
    except Exception as error:
        logger.exception("what became of an attempt cannot be told")
        done = _untellable(flight, error)
    return secrets.hide(done)


def _conclude(flight: Flight, result: object, max_bytes: int) -> Completion:
    claimed, seconds = flight.claimed, flight.seconds
    if flight.ending in TIMEOUTS:
        result = _timeout(flight)
    elif flight.ending == "drain" and isinstance(result, BaseException):
        return Completion(claimed, "ready", seconds, counts=False)
    elif flight.ending == "cancel" and isinstance(result, BaseException):
        return _cancelled(claimed, seconds)
    if isinstance(result, HelperLost):
        fallback = None
        if not claimed.batch:
            fallback = invoke.final_failure(flight.plan, claimed, LOST, seconds).output
        return Completion(claimed, "lost", seconds, output=fallback, error=LOST, counts=False)
    if flight.batch is not None:
        return maps.conclude(
            flight.plan, claimed, flight.batch, result, seconds=seconds, max_bytes=max_bytes
        )
    done = saga.conclude(
        flight.plan,
        claimed,
        result,
        seconds=seconds,
        args=flight.evaluated,
        max_bytes=max_bytes,
    )
    return repeating.judge(flight.plan, done, args=flight.evaluated, tenant=flight.context.tenant)


def _untellable(flight: Flight, error: Exception) -> Completion:
    told = f"the result cannot be kept: {type(error).__name__}: {as_text(error)}"
    fault = invoke.Fault("invalid_output", told, retry=False)
    claimed = flight.claimed
    described = invoke.describe(fault, claimed.mask)
    if claimed.batch > 0:  # `on_error` is its map's
        return Completion(claimed, "failed", flight.seconds, error=described)
    return invoke.final_failure(flight.plan, claimed, described, flight.seconds)


def _timeout(flight: Flight) -> invoke.Fault:
    allowed = flight.plan.step.heartbeat
    if flight.ending == "heartbeat_timeout" and allowed is not None:
        silence = f"no heartbeat for {allowed.total_seconds():g} s"
        return invoke.Fault("heartbeat_timeout", silence, retry=True)
    return invoke.Fault(
        "timeout", f"the attempt took longer than {flight.plan.timeout_s:g} s", retry=True
    )


def _cancelled(claimed: Claimed, seconds: float) -> Completion:
    fault = invoke.Fault("cancelled", "the run was cancelled while this step ran", retry=False)
    return Completion(claimed, "cancelled", seconds, error=invoke.describe(fault))


def isolate(connection: Connection, worker_id: int, completions: Sequence[Completion]) -> None:
    """PostgreSQL refused a batch for what it holds: write them one by one, failing the culprit."""
    for completion in completions:
        try:
            work.exchange(connection, worker_id, [completion], [], None)
        except psycopg.DataError as error:
            fault = invoke.Fault(
                "invalid_output", f"the result cannot be kept: {error}", retry=False
            )
            described = invoke.describe(fault, completion.claimed.mask)
            bad = Completion(completion.claimed, "failed", completion.seconds, error=described)
            bad.ended = completion.ended
            work.exchange(connection, worker_id, [bad], [], None)
