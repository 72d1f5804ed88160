"""How a step fails and is repeated: retry, on_error, compensate, undo, cache, repeat, map."""

import re
from datetime import timedelta
from typing import Literal, cast

from orchestrator.domain.definition import roots
from orchestrator.domain.definition.model import (
    DEFAULT_QUEUE,
    DEFAULT_STEP_TIMEOUT,
    CacheSpec,
    Call,
    ConcurrencySpec,
    HandlerInfo,
    Handlers,
    MapSpec,
    RepeatSpec,
)
from orchestrator.domain.definition.reader import Raw, Reader
from orchestrator.domain.errors import pointer
from orchestrator.domain.expressions import ExpressionFailed, Template, holds_expression
from orchestrator.domain.retries import RetryPolicy

MOST = 1_000_000
LONGEST_HANDLER = 255

_NO_TIME = timedelta(0)
_EXCEPTION = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")
_RETRY_KEYS = ("max_attempts", "delay", "factor", "max_delay", "jitter", "never_on", "only_on")
_MAP_KEYS = ("over", "batch_size", "max_in_flight", "ordered", "on_error", "collect")
_MAP_ON_ERROR = ("fail_fast", "continue")
_ON_CONFLICT = ("queue", "cancel_oldest", "reject")
_GIVEN = RetryPolicy(max_attempts=3)
_ONCE = RetryPolicy()
_UNDO = RetryPolicy(max_attempts=5)
_MOST_FACTOR = 1_000.0


def read_retry(
    reader: Reader,
    raw: Raw,
    place: str,
    *,
    absent: RetryPolicy = _ONCE,
    most_attempts: int = _GIVEN.max_attempts,
) -> RetryPolicy:
    """A step's `retry`: one attempt (`absent`) without it, three when given without a number."""
    if "retry" not in raw:
        return absent
    place += "/retry"
    given = reader.mapping(raw["retry"], place, _RETRY_KEYS)
    if given is None:
        return _GIVEN
    return RetryPolicy(
        max_attempts=reader.integer(
            given, place, "max_attempts", most_attempts, least=1, most=MOST
        ),
        delay=reader.duration(given, place, "delay", _GIVEN.delay, zero=True),
        factor=reader.number(given, place, "factor", _GIVEN.factor, least=1, most=_MOST_FACTOR),
        max_delay=reader.duration(given, place, "max_delay", _GIVEN.max_delay, zero=True),
        jitter=reader.number(given, place, "jitter", _GIVEN.jitter, least=0, most=1),
        never_on=reader.names(given, place, "never_on", _EXCEPTION),
        only_on=reader.names(given, place, "only_on", _EXCEPTION),
    )


def read_on_error(reader: Reader, raw: Raw, place: str) -> tuple[bool, object]:
    """A step's `on_error`: whether a failure is handled by a value, and which."""
    given = raw.get("on_error", "fail")
    place += "/on_error"
    if given == "fail":
        return False, None
    if not isinstance(given, dict):
        reader.wrong_word(place, given, ("fail", "{value: …}"))
        return False, None
    reader.mapping(given, place, ("value",))
    reader.required(given, place, ("value",))
    value = reader.template(given.get("value"), f"{place}/value", roots.NOWHERE)
    try:
        return True, value.evaluate({})
    except ExpressionFailed as error:
        reader.note(f"{place}/value", error.message, "bad_expression")
        return True, None


def read_call(
    reader: Reader,
    given: Raw,
    place: str,
    allow: frozenset[str],
    handlers: Handlers | None,
) -> Call:
    """`{handler, args}`."""
    raw = reader.mapping(given, place, ("handler", "args"))
    assert raw is not None  # it is an object
    reader.required(raw, place, ("handler",))
    handler = read_handler(reader, raw, place, handlers)
    return Call(handler, reader.arguments(raw, place, allow))


def read_compensate(reader: Reader, raw: Raw, place: str, handlers: Handlers | None) -> Call | None:
    """A step's `compensate`: `{handler, args, retry}`, one attempt unless `retry` gives more."""
    return _read_called(reader, raw, place, "compensate", roots.COMPENSATE, handlers, _ONCE)


def read_undo(reader: Reader, raw: Raw, place: str, handlers: Handlers | None) -> Call | None:
    """A step's `undo`: `{handler, args, retry}`, five attempts unless `retry` says otherwise."""
    return _read_called(reader, raw, place, "undo", roots.UNDO, handlers, _UNDO)


def _read_called(
    reader: Reader,
    raw: Raw,
    place: str,
    key: str,
    allow: frozenset[str],
    handlers: Handlers | None,
    policy: RetryPolicy,
) -> Call | None:
    if key not in raw:
        return None
    place = f"{place}/{key}"
    given = reader.mapping(raw[key], place, ("handler", "args", "retry"))
    if given is None:
        return None
    reader.required(given, place, ("handler",))
    handler = read_handler(reader, given, place, handlers)
    info = handlers(handler) if handler and handlers is not None else None
    most = max(policy.max_attempts, _GIVEN.max_attempts)
    return Call(
        handler,
        reader.arguments(given, place, allow),
        queue=(info.queue if info else None) or DEFAULT_QUEUE,
        timeout=(info.timeout if info else None) or DEFAULT_STEP_TIMEOUT,
        retry=read_retry(reader, given, place, absent=policy, most_attempts=most),
    )


def read_handler(reader: Reader, raw: Raw, place: str, handlers: Handlers | None) -> str:
    """The name of a handler, which `handlers` must know."""
    name = reader.text(raw, place, "handler", longest=LONGEST_HANDLER)
    if name and handlers is not None:
        info = handlers(name)
        if info is None:
            reader.note(f"{place}/handler", f"no worker has a handler {name}", "unknown_handler")
        else:
            _check_constants(reader, raw, place, info)
    elif not name and raw.get("handler") == "":
        reader.note(f"{place}/handler", "a handler has a name", "bad_name")
    return name


def _check_constants(reader: Reader, raw: Raw, place: str, info: HandlerInfo) -> None:
    """Arguments that a handler wants as they are written hold no expression."""
    args = raw.get("args")
    if not isinstance(args, dict):
        return
    for name in info.constant:
        value = args.get(name)
        if isinstance(value, str) and holds_expression(value):
            message = f"{info.name} takes no expression here: give values by its other arguments"
            reader.note(f"{place}/args/{name}", message, "not_constant")


def read_map(reader: Reader, raw: Raw, place: str, handlers: Handlers | None) -> MapSpec | None:
    """A step's `map`; None when absent or not an object."""
    if "map" not in raw:
        return None
    place += "/map"
    given = reader.mapping(raw["map"], place, _MAP_KEYS)
    if given is None:
        return None
    reader.required(given, place, ("over",))
    over: Template | Call
    source = given.get("over")
    if isinstance(source, dict):
        over = read_call(reader, source, f"{place}/over", roots.AFTER_STEPS, handlers)
    else:
        over = reader.expression(given, place, "over", roots.AFTER_STEPS)
    on_error, max_failures = _map_on_error(reader, given, place)
    return MapSpec(
        over=over,
        batch_size=reader.integer(given, place, "batch_size", 1, least=1, most=MOST),
        max_in_flight=reader.integer(given, place, "max_in_flight", 10, least=1, most=MOST),
        ordered=reader.flag(given, place, "ordered", default=True),
        on_error=on_error,
        max_failures=max_failures,
        collect=reader.flag(given, place, "collect", default=True),
    )


def _map_on_error(
    reader: Reader, raw: Raw, place: str
) -> tuple[Literal["fail_fast", "continue", "max_failures"], int | None]:
    given = raw.get("on_error", "fail_fast")
    place += "/on_error"
    if isinstance(given, dict):
        reader.mapping(given, place, ("max_failures",))
        reader.required(given, place, ("max_failures",))
        most = reader.integer(given, place, "max_failures", 0, least=0, most=MOST)
        return "max_failures", most
    if given == "continue":
        return "continue", None
    if given != "fail_fast":
        reader.wrong_word(place, given, (*_MAP_ON_ERROR, "{max_failures: n}"))
    return "fail_fast", None


def read_cache(reader: Reader, raw: Raw, place: str) -> CacheSpec | None:
    """A step's `cache`; None when absent or not an object."""
    if "cache" not in raw:
        return None
    place += "/cache"
    given = reader.mapping(raw["cache"], place, ("key", "ttl"))
    if given is None:
        return None
    reader.required(given, place, ("key", "ttl"))
    return CacheSpec(
        key=reader.template(given.get("key"), f"{place}/key", roots.AFTER_STEPS),
        ttl=reader.duration(given, place, "ttl", _NO_TIME),
    )


def read_repeat(reader: Reader, raw: Raw, place: str) -> RepeatSpec | None:
    """A step's `repeat`; None when absent or not an object."""
    if "repeat" not in raw:
        return None
    place += "/repeat"
    given = reader.mapping(raw["repeat"], place, ("until", "max", "delay"))
    if given is None:
        return None
    reader.required(given, place, ("until", "max"))
    return RepeatSpec(
        until=reader.expression(given, place, "until", roots.UNTIL),
        max=reader.integer(given, place, "max", 1, least=1, most=MOST),
        delay=reader.duration(given, place, "delay", _NO_TIME, zero=True),
    )


def read_concurrency(reader: Reader, raw: Raw) -> ConcurrencySpec | None:
    """A workflow's `concurrency`; None when absent or not an object."""
    if "concurrency" not in raw:
        return None
    place = pointer("concurrency")
    given = reader.mapping(raw["concurrency"], place, ("key", "limit", "on_conflict"))
    if given is None:
        return None
    reader.required(given, place, ("key",))
    on_conflict = given.get("on_conflict", "queue")
    if on_conflict not in _ON_CONFLICT:
        reader.wrong_word(f"{place}/on_conflict", on_conflict, _ON_CONFLICT)
    return ConcurrencySpec(
        key=reader.template(given.get("key"), f"{place}/key", roots.KEPT),
        limit=reader.integer(given, place, "limit", 1, least=1, most=MOST),
        on_conflict=cast("Literal['queue', 'cancel_oldest', 'reject']", on_conflict),
    )
