"""From a claim to arguments, and from a result to what is written: no threads, no database."""

from __future__ import annotations

import random
import traceback
from collections.abc import Callable, Mapping
from typing import cast

from orchestrator.domain import jsonvalue
from orchestrator.domain.expressions import ExpressionFailed, Template
from orchestrator.domain.masking import NO_MASK, Mask
from orchestrator.domain.retries import backoff, error_names, may_retry
from orchestrator.domain.steplog import as_text
from orchestrator.domain.undo import COMPENSATION, UNDO
from orchestrator.executor.plans import Plan, StepPlan
from orchestrator.handlers import Abort, Continue, HandlerSpec, Retry, Skip, Snooze
from orchestrator.store.work import Claimed, Completion

MAX_MESSAGE = 4_000
MAX_TRACEBACK = 16_000
RNG = random.Random()  # noqa: S311  (it spreads retries)

Evaluated = Callable[[], Mapping[str, object]]
"""A claim's arguments, evaluated anew from what came with it: those that its handler was given it may
have changed.  Only an attempt that another follows pays for that."""


class Fault(Exception):
    """An attempt that failed for a reason of ours: `code` is the contract's word."""

    def __init__(self, code: str, message: str, *, retry: bool) -> None:
        super().__init__(message)
        self.code = code
        self.retry = retry


def scope(plan: Plan, claimed: Claimed) -> dict[str, object]:
    """What expressions see of a claim."""
    names = plan.steps[0].names
    steps: dict[str, object] = {}
    own: dict[str, object] = {}
    for ordinal, state, output in zip(
        claimed.refs or (), claimed.states or (), claimed.outputs or (), strict=True
    ):
        if ordinal == claimed.ordinal and claimed.batch in (COMPENSATION, UNDO):
            root = "error" if claimed.batch == COMPENSATION else "output"
            own[root] = jsonvalue.stored(output) if output is not None else None
            continue
        value = jsonvalue.stored(output) if output is not None and state == "succeeded" else None
        steps[names[ordinal]] = {"output": value, "state": state}
    return {
        "input": jsonvalue.stored(claimed.input) if claimed.input is not None else {},
        "steps": steps,
        "run": {"id": str(claimed.run_id), "labels": labels(claimed)},
        "tenant": {"slug": plan.tenant},
        "secrets": secrets_of(claimed),
        **own,
    }


def secrets_of(claimed: Claimed) -> Mapping[str, str]:
    """The secrets' values by name, for expressions alone."""
    return {} if claimed.secrets is None else claimed.secrets.values


def labels(claimed: Claimed) -> dict[str, str]:
    """The run's labels."""
    if claimed.labels == "{}":
        return {}
    return cast("dict[str, str]", jsonvalue.stored(claimed.labels))


def arguments(plan: Plan, step: StepPlan, claimed: Claimed) -> dict[str, object]:
    """The step's arguments: kept ones of an earlier attempt, else its expressions' values.

    Raises Fault: expression, invalid_arguments."""
    if claimed.args is not None:
        args: object = jsonvalue.stored(claimed.args)
    else:
        template = step.step.args
        args = evaluate(template, {} if template.is_constant else scope(plan, claimed))
    return checked(step, args)


def evaluate(template: Template, seen: Mapping[str, object]) -> dict[str, object]:
    """The arguments that a template says.  Raises Fault: expression."""
    try:
        return cast("dict[str, object]", template.evaluate(seen))
    except ExpressionFailed as error:
        raise Fault("expression", str(error), retry=False) from None


def checked(step: StepPlan, args: object) -> dict[str, object]:
    """The arguments, if the handler takes them.  Raises Fault: invalid_arguments."""
    if not isinstance(args, dict):
        raise Fault("invalid_arguments", "args must be an object", retry=False)
    if misfit := known(step).misfit(args):
        raise Fault("invalid_arguments", misfit, retry=False)
    return args


def known(step: StepPlan) -> HandlerSpec:
    """The step's handler.  Raises Fault where this process has none of that name."""
    if step.spec is None:
        message = f"this worker has no handler {step.step.handler}"
        raise Fault("invalid_arguments", message, retry=True)
    return step.spec


def conclude(
    step: StepPlan,
    claimed: Claimed,
    result: object,
    *,
    seconds: float,
    args: Evaluated | None = None,
    max_bytes: int,
) -> Completion:
    """What an attempt's result (a value, or an exception that was raised) comes to."""
    if isinstance(result, Continue):
        result = result.value
    if isinstance(result, Encoded):
        return Completion(claimed, "succeeded", seconds, output=result.text)
    if not isinstance(result, BaseException):
        try:
            return Completion(
                claimed, "succeeded", seconds, output=jsonvalue.encode(result, max_bytes=max_bytes)
            )
        except (jsonvalue.NotJson, jsonvalue.TooBig) as error:
            result = Fault("invalid_output", f"the result cannot be kept: {error}", retry=False)
    if isinstance(result, Skip):
        return Completion(
            claimed, "skipped", seconds, reason=_short(claimed.mask.text(result.reason))
        )
    if isinstance(result, Snooze):
        return Completion(
            claimed, "waiting", seconds, reason="snooze", args=kept(claimed, args),
            delay_s=result.for_.total_seconds(), counts=False,
        )  # fmt: skip
    return _failure(step, claimed, result, seconds, args)


def set_aside(
    claimed: Claimed, args: Evaluated | None, *, reason: str, delay_s: float
) -> Completion:
    """A claim that waits for something before its handler is called; it uses no attempt."""
    return Completion(
        claimed, "waiting", 0.0, reason=reason, args=kept(claimed, args), delay_s=delay_s,
        counts=False,
    )  # fmt: skip


class Encoded:
    """A value that is JSON text already (it came from a helper process, which checked it).

    `continues`: it was inside a `Continue`."""

    __slots__ = ("continues", "text")

    def __init__(self, text: str, *, continues: bool = False) -> None:
        self.text = text
        self.continues = continues


class Reported(Exception):
    """An exception of another process, as it was described there."""

    def __init__(self, kind: str, message: str, names: tuple[str, ...], trace: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.names = names
        self.trace = trace


def _failure(
    step: StepPlan,
    claimed: Claimed,
    error: BaseException,
    seconds: float,
    args: Evaluated | None,
) -> Completion:
    policy = step.step.retry
    attempt = claimed.attempts + 1
    described = describe(error, claimed.mask)
    if retries(step, attempt, error):
        after = error.after if isinstance(error, Retry) else None
        delay = backoff(policy, attempt, rng=RNG) if after is None else after
        return Completion(
            claimed, "waiting", seconds, error=described, reason="retry", args=kept(claimed, args),
            delay_s=delay.total_seconds(),
        )  # fmt: skip
    return final_failure(step, claimed, described, seconds)


def final_failure(step: StepPlan, claimed: Claimed, described: str, seconds: float) -> Completion:
    """A failure without another attempt: handled where the step's `on_error` gives a value."""
    if step.step.has_on_error_value:
        value = jsonvalue.encode(step.step.on_error_value)
        return Completion(
            claimed, "succeeded", seconds, output=value, error=described, handled=True
        )
    return Completion(claimed, "failed", seconds, error=described)


def retries(step: StepPlan, attempt: int, error: BaseException) -> bool:
    """Whether attempt number `attempt`, which failed so, is followed by another."""
    policy = step.step.retry
    if isinstance(error, Abort):
        return False
    if isinstance(error, Retry):
        return attempt < policy.max_attempts
    if isinstance(error, Fault):
        late = error.code in ("timeout", "heartbeat_timeout")
        names = error_names(TimeoutError if late else type(error))
        return error.retry and may_retry(policy, attempt=attempt, error_names=names)
    names = error.names if isinstance(error, Reported) else error_names(type(error))
    return may_retry(policy, attempt=attempt, error_names=names)


def describe(error: BaseException, mask: Mask = NO_MASK) -> str:
    """An exception as the error that is kept: `{code, message, type, traceback}`.

    Masked before it is cut: half a secret would not be found any more."""
    message = mask.text(as_text(error))
    if isinstance(error, Fault):
        return _error(error.code, message, None, None)
    if isinstance(error, Abort):
        return _error("aborted", message or "aborted by its handler", "Abort", None)
    if isinstance(error, Reported):
        return _error("error", message, error.kind, mask.text(error.trace))
    trace = mask.text("".join(traceback.format_exception(error)))
    return _error("error", message, type(error).__name__, trace)


def _error(code: str, message: str, kind: str | None, trace: str | None) -> str:
    body: dict[str, object] = {"code": code, "message": _short(message) or code, "type": kind}
    if trace:
        body["traceback"] = _clean(trace[-MAX_TRACEBACK:])
    return jsonvalue.encode(body)


def _short(text: str) -> str:
    return _clean(text if len(text) <= MAX_MESSAGE else text[:MAX_MESSAGE] + " …")


def _clean(text: str) -> str:
    """Without what PostgreSQL and JSON cannot hold."""
    return text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode()


def kept(claimed: Claimed, args: Evaluated | None) -> str | None:
    """The arguments to keep for the next attempt, unless they are kept already; those that name
    secrets, or that JSON cannot hold, are not kept, but evaluated anew."""
    if args is None or claimed.args is not None or claimed.secrets is not None:
        return None
    try:
        return jsonvalue.encode(args())
    except (jsonvalue.NotJson, jsonvalue.TooBig):
        return None
