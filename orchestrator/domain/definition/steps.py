"""One step of a document, on its own: everything but what ties it to the others."""

import re
from dataclasses import dataclass
from datetime import timedelta

from orchestrator.domain.definition import policies, roots
from orchestrator.domain.definition.model import (
    DEFAULT_QUEUE,
    DEFAULT_STEP_TIMEOUT,
    LABEL_PATTERN,
    STEP_NAME_PATTERN,
    Call,
    Handlers,
    Known,
    Step,
    StepKind,
)
from orchestrator.domain.definition.reader import NOTHING, Raw, Reader
from orchestrator.domain.expressions import Template
from orchestrator.domain.statuses import TriggerRule

STEP_KEYS = (
    "name",
    "handler",
    "workflow",
    "signal",
    "payload_schema",
    "sleep",
    "args",
    "depends_on",
    "if",
    "trigger_rule",
    "retry",
    "timeout",
    "heartbeat",
    "queue",
    "pool",
    "on_error",
    "map",
    "compensate",
    "undo",
    "cache",
    "repeat",
)
KINDS: tuple[StepKind, ...] = ("handler", "workflow", "signal", "sleep")
# What means nothing for a step that calls no handler of its own.
_OUT_OF_PLACE: dict[StepKind, tuple[str, ...]] = {
    "handler": ("payload_schema",),
    "workflow": ("payload_schema", "heartbeat", "queue", "pool", "map"),
    "signal": ("args", "heartbeat", "queue", "pool", "map", "cache"),
    "sleep": (
        "payload_schema",
        "args",
        "heartbeat",
        "queue",
        "pool",
        "map",
        "cache",
        "retry",
        "timeout",
        "repeat",
    ),
}

_STEP_NAME = re.compile(STEP_NAME_PATTERN)
_LABEL = re.compile(LABEL_PATTERN)


@dataclass(frozen=True, slots=True)
class World:
    """What exists besides the document; None: taken as given."""

    handlers: Handlers | None = None
    workflows: Known | None = None
    pools: Known | None = None


def read_step(reader: Reader, value: object, ordinal: int, world: World, own: str) -> Step:
    """The step, with what it says itself that it depends on.

    `own` is the workflow's name, which a step may call.  A step with problems has defaults in their
    place.
    """
    place = f"/steps/{ordinal}"
    raw = reader.mapping(value, place, STEP_KEYS)
    if raw is None:
        # One problem is enough to tell; the others take the step for one that lacks nothing.
        raw, kind = {}, KINDS[0]
    else:
        reader.required(raw, place, ("name",))
        kind = _kind(reader, raw, place)
    handler = workflow = None
    if "handler" in raw:
        handler = policies.read_handler(reader, raw, place, world.handlers)
    if "workflow" in raw:
        workflow = _workflow(reader, raw, place, world, own)
    has_value, on_error_value = policies.read_on_error(reader, raw, place)
    return Step(
        ordinal=ordinal,
        name=reader.name(raw, place, "name", _STEP_NAME) or "",
        kind=kind,
        handler=handler,
        workflow=workflow,
        signal=reader.name(raw, place, "signal", _LABEL),
        payload_schema=_payload_schema(reader, raw, place),
        sleep=_optional_duration(reader, raw, place, "sleep"),
        args=reader.arguments(raw, place, roots.ITEM if "map" in raw else roots.AFTER_STEPS),
        depends_on=reader.names(raw, place, "depends_on"),
        parents=(),
        children=(),
        condition=_condition(reader, raw, place),
        trigger_rule=reader.word(raw, place, "trigger_rule", TriggerRule.ALL_SUCCESS),
        retry=policies.read_retry(reader, raw, place),
        timeout=_timeout(reader, raw, place, handler, world),
        timeout_given="timeout" in raw,
        heartbeat=_optional_duration(reader, raw, place, "heartbeat"),
        queue=_queue(reader, raw, place, handler, world),
        pool=_pool(reader, raw, place, world),
        has_on_error_value=has_value,
        on_error_value=on_error_value,
        map=policies.read_map(reader, raw, place, world.handlers),
        compensate=policies.read_compensate(reader, raw, place, world.handlers),
        undo=policies.read_undo(reader, raw, place, world.handlers),
        cache=policies.read_cache(reader, raw, place),
        repeat=policies.read_repeat(reader, raw, place),
        needs=(),
        needs_input=False,
        batch_needs=(),
        batch_needs_input=False,
        secrets=frozenset(),
        document=dict(raw),
    )


def _kind(reader: Reader, raw: Raw, place: str) -> StepKind:
    found = [kind for kind in KINDS if kind in raw]
    if not found:
        message = "one of handler, workflow, signal and sleep is missing"
        reader.note(place, message, "missing")
        return "handler"
    for kind in found[1:]:
        reader.note(f"{place}/{kind}", f"the step has a {found[0]} already", "out_of_place")
    if "map" in raw and "repeat" in raw:
        reader.note(f"{place}/repeat", "repeat means nothing for a map step", "out_of_place")
    for key in _OUT_OF_PLACE[found[0]]:
        if key in raw:
            message = f"{key} means nothing for a {found[0]} step"
            reader.note(f"{place}/{key}", message, "out_of_place")
    return found[0]


def _workflow(reader: Reader, raw: Raw, place: str, world: World, own: str) -> str:
    name = reader.text(raw, place, "workflow", longest=policies.LONGEST_HANDLER)
    known = world.workflows is None or name == own or world.workflows(name)
    if isinstance(raw["workflow"], str) and not (name and known):
        reader.note(f"{place}/workflow", f"there is no workflow {name}", "unknown_workflow")
    return name


def _payload_schema(reader: Reader, raw: Raw, place: str) -> dict[str, object] | None:
    """What a signal's payload must fit; None: anything."""
    schema = raw.get("payload_schema", {})
    if not isinstance(schema, dict):
        reader.note(f"{place}/payload_schema", "must be an object", "wrong_type")
        return None
    return schema or None


def _condition(reader: Reader, raw: Raw, place: str) -> Template | None:
    """`if`: one expression, or true or false.  Other text would always be true."""
    if "if" not in raw:
        return None
    if isinstance(raw["if"], bool):
        return reader.template(raw["if"], place, roots.NOWHERE)
    return reader.expression(raw, place, "if", roots.AFTER_STEPS)


def _timeout(reader: Reader, raw: Raw, place: str, handler: str | None, world: World) -> timedelta:
    info = world.handlers(handler) if handler and world.handlers else None
    declared = info.timeout if info is not None else None
    return reader.duration(raw, place, "timeout", declared or DEFAULT_STEP_TIMEOUT)


def _queue(reader: Reader, raw: Raw, place: str, handler: str | None, world: World) -> str:
    info = world.handlers(handler) if handler and world.handlers else None
    declared = info.queue if info is not None else None
    return reader.name(raw, place, "queue", _LABEL) or declared or DEFAULT_QUEUE


def _pool(reader: Reader, raw: Raw, place: str, world: World) -> str | None:
    pool = reader.name(raw, place, "pool", _LABEL)
    if pool is not None and world.pools is not None and not world.pools(pool):
        reader.note(f"{place}/pool", f"there is no pool {pool}", "unknown_pool")
    return pool


def _optional_duration(reader: Reader, raw: Raw, place: str, key: str) -> timedelta | None:
    if key not in raw:
        return None
    return reader.duration(raw, place, key, DEFAULT_STEP_TIMEOUT)


def templates(step: Step) -> dict[str, Template]:
    """The step's templates that may refer to other steps, by their place inside the step.

    Those that are evaluated before the step runs come first; see `before`.
    """
    found = before(step)
    if step.compensate is not None:
        found["/compensate/args"] = step.compensate.args
    if step.undo is not None:
        found["/undo/args"] = step.undo.args
    return found


def before(step: Step) -> dict[str, Template]:
    """The step's templates that are evaluated before it runs, by their place inside the step."""
    found: dict[str, Template] = {}
    if step.condition is not None:
        found["/if"] = step.condition
    if step.args is not NOTHING:
        found["/args"] = step.args
    if step.map is not None:
        over = step.map.over
        if isinstance(over, Call):
            found["/map/over/args"] = over.args
        else:
            found["/map/over"] = over
    if step.cache is not None:
        found["/cache/key"] = step.cache.key
    return found
