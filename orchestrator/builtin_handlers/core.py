"""`core.*`: small building blocks that workflows and tests are made of."""

from __future__ import annotations

import asyncio
import builtins

from orchestrator.domain.durations import parse_duration
from orchestrator.domain.expressions import BadExpression, ExpressionFailed, compile_expression
from orchestrator.handlers import Abort, StepContext, handler


@handler("core.echo")
async def echo(ctx: StepContext, **values: object) -> dict[str, object]:
    """Its arguments, as an object."""
    return values


@handler("core.sleep")
async def sleep(
    ctx: StepContext, *, ms: float | None = None, duration: str | float | None = None
) -> None:
    """Hold a connection for `ms` milliseconds, or for a `duration` such as "2s"; then null."""
    if (ms is None) == (duration is None):
        raise Abort("core.sleep takes either ms or duration")
    try:
        given = parse_duration(ms / 1000 if ms is not None else duration, zero=True)
    except (ValueError, TypeError) as error:
        raise Abort(f"core.sleep: {error}") from None
    await asyncio.sleep(given.total_seconds())


@handler("core.fail")
async def fail(
    ctx: StepContext,
    *,
    message: str = "failed on purpose",
    type: str = "RuntimeError",  # noqa: A002  (the word that users see in errors)
    times: int | None = None,
    abort: bool = False,
    value: object = None,
) -> object:
    """Fail with an exception named `type`; with `abort`, without retry.

    With `times`, only that many attempts fail; the next one gives `value`."""
    if times is not None and ctx.attempt > times:
        return value
    if abort:
        raise Abort(message)
    raise _exception(type)(message)


def _exception(name: str) -> builtins.type[Exception]:
    """The built-in exception of this name, or a new one."""
    found = getattr(builtins, name, None)
    if isinstance(found, builtins.type) and issubclass(found, Exception):
        try:
            found("")
        except TypeError:
            pass  # one that needs more than a message, such as UnicodeDecodeError
        else:
            return found
    if not name.isidentifier():
        raise Abort(f"core.fail: {name!r} is no name of an exception")
    return builtins.type(name, (Exception,), {})


@handler("core.eval")
def evaluate(ctx: StepContext, *, expression: str, input: object = None) -> object:  # noqa: A002
    """The value of `expression` (without `${{ }}`), in which `input` is the argument `input`."""
    try:
        template = compile_expression(expression, allow=frozenset({"input"}))
        return template.evaluate({"input": input})
    except (BadExpression, ExpressionFailed) as error:
        raise Abort(f"core.eval: {error}") from None
