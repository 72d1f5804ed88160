"""A whole document: from what a user wrote, or from what was stored, to a Definition."""

import re
from functools import cache

from orchestrator.domain import jsonvalue
from orchestrator.domain.definition import policies, roots
from orchestrator.domain.definition.links import Linker
from orchestrator.domain.definition.model import (
    DEFAULT_PRIORITY,
    DEFAULT_RUN_TIMEOUT,
    NAME_PATTERN,
    Definition,
    HandlerInfo,
    Handlers,
    Known,
    Step,
)
from orchestrator.domain.definition.reader import Raw, Reader
from orchestrator.domain.definition.steps import World, read_step
from orchestrator.domain.errors import InvalidDefinition, Problem
from orchestrator.domain.schemas import BadSchema, compile_schema

TOP_KEYS = (
    "name",
    "description",
    "input_schema",
    "timeout",
    "max_parallel",
    "fail_fast",
    "priority",
    "concurrency",
    "steps",
    "output",
)
_NAME = re.compile(NAME_PATTERN)
_LONGEST_DESCRIPTION = 10_000


def parse_definition(
    document: object,
    *,
    name: str | None = None,
    max_steps: int = 10_000,
    handlers: Handlers | None = None,
    workflows: Known | None = None,
    pools: Known | None = None,
) -> Definition:
    """The definition that `document` (plain JSON data) says.

    `name` is the URL's, which the document need not repeat.  `handlers`, `workflows` and `pools`
    tell what exists; None skips the check.  Raises InvalidDefinition with every problem.
    """
    reader = Reader()
    try:
        plain = jsonvalue.decode(jsonvalue.encode(document))
    except jsonvalue.NotJson as error:
        problem = Problem(error.pointer, error.reason, "not_json")
        raise InvalidDefinition(problems=[problem]) from None
    raw = reader.mapping(plain, "", TOP_KEYS)
    if raw is None:
        raise InvalidDefinition(problems=reader.problems)
    raw = _named(reader, raw, name)
    _check_schemas(reader, raw)
    # Asked thrice per step, of which many may share a handler.
    known = None if handlers is None else cache(handlers)
    definition = _read(reader, raw, World(known, workflows, pools), max_steps)
    if reader.problems:
        raise InvalidDefinition(problems=reader.problems)
    return definition


def load(document: dict[str, object], *, handlers: Handlers | None = None) -> Definition:
    """The definition of a stored `document`, without asking again what exists.

    Its steps' `queue` and `timeout` are resolved with what `handlers` says of the decorators; None:
    with the defaults.  Raises InvalidDefinition if the document was not one that was published.
    """
    reader = Reader()
    definition = _read(reader, document, World(_lenient(handlers)))
    if reader.problems:
        raise InvalidDefinition(problems=reader.problems)
    return definition


def _lenient(handlers: Handlers | None) -> Handlers | None:
    """`handlers`, for which an unknown one is a handler that declares nothing."""
    if handlers is None:
        return None
    return lambda name: handlers(name) or HandlerInfo(name)


def _named(reader: Reader, raw: Raw, name: str | None) -> Raw:
    """`raw` with its name, in first place; the URL's, if there is one, must be the same."""
    if name is None:
        reader.required(raw, "", ("name",))
        return raw
    if isinstance(raw.get("name"), str) and raw["name"] != name:
        reader.note("/name", f"must be {name}, as in the URL", "name_mismatch")
    return {"name": name, **raw}


def _check_schemas(reader: Reader, raw: Raw) -> None:
    """Of the input and of signals' payloads: compiled at publishing alone."""
    found = [("/input_schema", raw.get("input_schema"))]
    steps = raw.get("steps")
    for ordinal, step in enumerate(steps if isinstance(steps, list) else ()):
        if isinstance(step, dict) and "payload_schema" in step:
            found.append((f"/steps/{ordinal}/payload_schema", step["payload_schema"]))
    for place, schema in found:
        if isinstance(schema, dict):
            try:
                compile_schema(schema)
            except BadSchema as error:
                reader.note(f"{place}{error.pointer}", error.message, "bad_schema")


def _read(reader: Reader, raw: Raw, world: World, max_steps: int | None = None) -> Definition:
    """The definition; not to be used if the reader has noted problems."""
    name = reader.name(raw, "", "name", _NAME) or ""
    linker = Linker(reader, _steps(reader, raw, world, name, max_steps))
    steps = linker.link()
    output = None
    leaves = tuple(step.ordinal for step in steps if not step.children)
    output_needs = leaves
    if "output" in raw:
        output = reader.template(raw["output"], "/output", roots.AFTER_STEPS)
        output_needs = tuple(linker.ordinals_of(output, "/output"))
    document = dict(raw)
    return Definition(
        name=name,
        description=reader.text(raw, "", "description", longest=_LONGEST_DESCRIPTION),
        input_schema=_input_schema(reader, raw),
        timeout=reader.duration(raw, "", "timeout", DEFAULT_RUN_TIMEOUT),
        max_parallel=_max_parallel(reader, raw),
        fail_fast=reader.flag(raw, "", "fail_fast", default=False),
        priority=reader.integer(raw, "", "priority", DEFAULT_PRIORITY, least=0, most=9),
        concurrency=policies.read_concurrency(reader, raw),
        steps=steps,
        leaves=leaves,
        output=output,
        output_needs=output_needs,
        document=document,
        checksum=jsonvalue.fingerprint(document),
    )


def _steps(
    reader: Reader, raw: Raw, world: World, name: str, max_steps: int | None
) -> tuple[Step, ...]:
    """The steps that could be read at all; none after a problem with the list itself."""
    reader.required(raw, "", ("steps",))
    listed = raw.get("steps", [])
    if not isinstance(listed, list):
        reader.note("/steps", "must be a list of steps", "wrong_type")
        return ()
    if "steps" in raw and not listed:
        reader.note("/steps", "a workflow has at least one step", "out_of_range")
    if max_steps is not None and len(listed) > max_steps:
        reader.note("/steps", f"a workflow has at most {max_steps:,} steps", "out_of_range")
        return ()
    return tuple(
        read_step(reader, value, ordinal, world, name) for ordinal, value in enumerate(listed)
    )


def _input_schema(reader: Reader, raw: Raw) -> dict[str, object] | None:
    schema = raw.get("input_schema", {})
    if not isinstance(schema, dict):
        reader.note("/input_schema", "must be an object", "wrong_type")
        return None
    return schema or None


def _max_parallel(reader: Reader, raw: Raw) -> int | None:
    if "max_parallel" not in raw:
        return None
    return reader.integer(raw, "", "max_parallel", 1, least=1, most=policies.MOST)
