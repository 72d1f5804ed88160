"""Many submissions at once: a chunk of lines is read, looked up and made in a few statements."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from uuid import UUID

from django.db import transaction

from orchestrator import dispatch, store
from orchestrator.domain import jsonvalue
from orchestrator.domain.errors import (
    DepthExceeded,
    IdempotencyMismatch,
    InvalidRequest,
    MalformedJson,
    MillraceError,
    Problem,
    WorkflowNotFound,
)
from orchestrator.services.runs import check_open, replayed
from orchestrator.services.submissions import asked_version, check_key, read_submission
from orchestrator.services.submitting import check_size, check_steps, new_run, refused
from orchestrator.store import submissions
from orchestrator.store.submissions import KnownKey, Target
from orchestrator.store.submit import NewRun, submit
from tenants.actors import Actor
from tenants.models import Tenant

BESIDE = ("workflow", "idempotency_key")
"""What a line says besides a submission's own fields."""


@dataclass(frozen=True, slots=True)
class BulkResult:
    """What became of a line (numbered from 1): its run, or why there is none."""

    line: int
    run_id: UUID | None
    error: MillraceError | None


@dataclass(slots=True)
class _Line:
    number: int
    body: dict[str, object] = field(default_factory=dict)
    workflow: str = ""
    key: str | None = None
    target: Target | None = None
    fingerprint: str | None = None
    new: NewRun | None = None
    run_id: UUID | None = None
    error: MillraceError | None = None


def unreadable(error: jsonvalue.BadJson) -> MillraceError:
    """The error that bad JSON is: 400 malformed, 413 too deep, 422 what cannot be kept."""
    if error.fault == "too_deep":
        return DepthExceeded()
    if error.fault == "not_storable":
        return InvalidRequest(problems=[Problem("", error.message, "not_json")])
    return MalformedJson(f"The body is not valid JSON in UTF-8: {error.message}.")


def submit_bulk(
    *, tenant: Tenant, lines: Sequence[tuple[int, bytes | MillraceError]], actor: Actor
) -> list[BulkResult]:
    """Submit a chunk of (number, JSON text) lines; every line has its answer, in order.

    A line that was refused before it was read comes with its error."""
    read = [_read(number, text) for number, text in lines]
    _find_targets(tenant, read)
    _find_known(tenant, read)
    for line in read:
        if line.error is None and line.run_id is None:
            _prepare(tenant, line)
    _submit(tenant, [line for line in read if line.new is not None], actor)
    return [BulkResult(line.number, line.run_id, line.error) for line in read]


def _read(number: int, text: bytes | MillraceError) -> _Line:
    line = _Line(number)
    if isinstance(text, MillraceError):
        line.error = text
        return line
    try:
        body = jsonvalue.decode(text)
    except jsonvalue.BadJson as error:
        line.error = unreadable(error)
        return line
    if not isinstance(body, dict):
        line.error = _invalid("", "must be an object", "wrong_type")
    elif "workflow" not in body:
        line.error = _invalid("", "workflow is missing", "missing")
    elif not isinstance(body["workflow"], str):
        line.error = _invalid("/workflow", "must be text", "wrong_type")
    else:
        line.body = body
        line.workflow = body["workflow"]
        _read_key(line, body.get("idempotency_key"))
    return line


def _read_key(line: _Line, key: object) -> None:
    if key is None:
        return
    if not isinstance(key, str):
        line.error = _invalid("/idempotency_key", "must be text", "wrong_type")
        return
    try:
        check_key(key)
    except InvalidRequest as error:
        line.error = error
        return
    line.key = key
    rest = {name: value for name, value in line.body.items() if name not in BESIDE}
    line.fingerprint = jsonvalue.fingerprint(rest)


def _invalid(path: str, message: str, code: str) -> InvalidRequest:
    return InvalidRequest(problems=[Problem(path, message, code)])


def _find_targets(tenant: Tenant, lines: Sequence[_Line]) -> None:
    connection = store.connection()
    found: dict[tuple[str, int | None], Target | None] = {}
    for line in lines:
        if line.error is not None:
            continue
        wanted = (line.workflow, asked_version(line.body))
        if wanted not in found:
            found[wanted] = submissions.target(
                connection, tenant_id=tenant.pk, name=wanted[0], version=wanted[1], key=None
            )
        line.target = found[wanted]
        if line.target is None:
            line.error = WorkflowNotFound(workflow=line.workflow)


def _find_known(tenant: Tenant, lines: Sequence[_Line]) -> None:
    keyed = [
        (line, (line.target.workflow_id, line.key))
        for line in lines
        if line.target is not None and line.key is not None
    ]
    if not keyed:
        return
    known: dict[tuple[int, str], KnownKey] = submissions.known_keys(
        store.connection(), tenant_id=tenant.pk, keys=[pair for _, pair in keyed]
    )
    for line, pair in keyed:
        if pair in known:
            try:
                line.run_id = replayed(known[pair], line.fingerprint)
            except IdempotencyMismatch as error:
                line.error = error


def _prepare(tenant: Tenant, line: _Line) -> None:
    target = line.target
    assert target is not None
    try:
        read = read_submission(line.body, version_id=target.version_id, beside=BESIDE)
        check_open(tenant, target)
        assert target.version_id is not None
        line.new = new_run(
            tenant=tenant,
            version_id=target.version_id,
            read=read,
            key=line.key,
            fingerprint=line.fingerprint,
        )
        check_size(tenant, line.new.input)
        check_steps(tenant, line.new.version_id)
    except MillraceError as error:
        line.new, line.error = None, error


def _submit(tenant: Tenant, lines: Sequence[_Line], actor: Actor) -> None:
    news = [line.new for line in lines if line.new is not None]
    if not news:
        return
    made = submit(
        store.connection(), tenant_id=tenant.pk, runs=news, actor=str(actor), origin=actor.origin
    )
    transaction.on_commit(partial(dispatch.wake, made.wake))
    for line, result in zip(lines, made.results, strict=True):
        if result.replayed and not result.same:
            line.error = IdempotencyMismatch(run_id=result.run_id)
        elif result.refused:
            assert line.new is not None
            line.error = refused(line.new, result)
        else:
            line.run_id = result.run_id
