"""Requests of triggers: checked, then each starts a run, once.

Until the signature is known to be right nothing of a request is parsed, and whatever is wrong has one
answer: whether there is such a trigger is not to be learnt."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from uuid import UUID

from django.db.models import DateTimeField, ExpressionWrapper, F, Q, Value
from django.db.models.functions import Coalesce, Greatest, Now
from django.utils import timezone

from orchestrator.domain import jsonvalue
from orchestrator.domain.errors import (
    HookRefused,
    IdempotencyMismatch,
    InvalidRequest,
    MillraceError,
    OverQuota,
    Problem,
)
from orchestrator.domain.expressions import ExpressionFailed, compile_template
from orchestrator.domain.jsonvalue import BadJson, NotJson
from orchestrator.domain.webhooks import GITHUB_DELIVERY, Fault, Scheme, check
from orchestrator.models import Trigger, TriggerDelivery
from orchestrator.selectors.triggers import rate
from orchestrator.services.bulk import unreadable
from orchestrator.services.runs import submit_run
from orchestrator.services.trigger_documents import OURS, ROOTS
from orchestrator.services.triggers import PURPOSE
from tenants import fence
from tenants.actors import Actor
from tenants.sealing import Unreadable, unseal

logger = logging.getLogger(__name__)

LARGEST_BODY = 1024 * 1024
DISABLED = "disabled"
UNREADABLE = "secret_unreadable"
NOBODYS = "there is no such trigger, and this is nobody's secret"
HIDDEN = ("authorization", "cookie", "millrace-signature", "x-hub-signature-256")
"""Headers that a template does not see."""
LONGEST_DETAIL = 1000


@dataclass(frozen=True, slots=True)
class Received:
    """The run of a request.  `replayed`: an earlier request with its key started it."""

    run_id: UUID
    replayed: bool


def receive(
    *, slug: str, name: str, headers: Mapping[str, str], body: bytes, origin: str = ""
) -> Received:
    """Start the run of a signed request; `headers` by small letters.

    Raises HookRefused for everything that an outsider could have sent; for what the secret signed
    OverQuota (the trigger's rate), MalformedJson and its like, InvalidRequest, InvalidInput,
    TenantSuspended, StateConflict."""
    row = _find(slug, name)
    reason = _wrong(row, headers, body)
    with fence.within(0 if row is None else row.tenant_id):
        if row is None or reason is not None:
            _note_refusal(row, reason)
            raise HookRefused
        return _take(row, headers, body, origin)


def _take(row: Trigger, headers: Mapping[str, str], body: bytes, origin: str) -> Received:
    """Start the run of a request that is the trigger's."""
    _spend(row)
    try:
        found = _start(row, headers, body, origin)
    except MillraceError as error:
        told = error.message
        if problems := getattr(error, "problems", ()):
            told = "; ".join(f"{one.path}: {one.message}" for one in problems[:3])
        _deliver(row, body, origin, "failed", code=error.code, detail=told[:LONGEST_DETAIL])
        raise
    outcome = "duplicate" if found.replayed else "started"
    _deliver(row, body, origin, outcome, run_id=found.run_id)
    return found


def _find(slug: str, name: str) -> Trigger | None:
    if "\0" in slug or "\0" in name:
        return None
    rows = Trigger.objects.select_related("tenant", "tenant__quota", "workflow")
    with fence.through(fence.HOOKS, slug):
        return rows.filter(tenant__slug=slug, name=name).first()


def _wrong(row: Trigger | None, headers: Mapping[str, str], body: bytes) -> str | None:
    """Why a request is not a trigger's, or None."""
    now = timezone.now()
    if row is None:
        check(Scheme.MILLRACE, [NOBODYS], headers, body, now=now.timestamp())  # takes as long
        return Fault.SIGNATURE
    sealed = [bytes(row.secret)]
    if row.previous is not None and row.previous_until is not None and row.previous_until > now:
        sealed.append(bytes(row.previous))
    try:
        secrets = [unseal(one, purpose=PURPOSE) for one in sealed]
    except Unreadable:
        logger.error("the secret of trigger %s cannot be read: SECRET_KEY is another", row.pk)
        return UNREADABLE
    fault = check(Scheme(row.scheme), secrets, headers, body, now=now.timestamp())
    if fault is None and not row.enabled:
        return DISABLED
    return fault


def _note_refusal(row: Trigger | None, reason: str | None) -> None:
    """Tell the trigger's owner, at most once a second: what is not signed may cost little."""
    Trigger.objects.filter(
        Q(refused_at__isnull=True) | Q(refused_at__lt=Now() - timedelta(seconds=1)),
        pk=0 if row is None else row.pk,
    ).update(refused_count=F("refused_count") + 1, refused_at=Now(), refused_reason=reason)


def _spend(row: Trigger) -> None:
    """Take one from the rate's allowance: GCRA, a burst of the whole of it at most.

    Raises OverQuota."""
    step = row.rate_period / row.rate_count
    full = Greatest(Coalesce(F("full_at"), Now()), Now())
    spent = (
        Trigger.objects.annotate(
            full=ExpressionWrapper(full + Value(step), output_field=DateTimeField())
        )
        .filter(pk=row.pk, full__lte=Now() + Value(row.rate_period))
        .update(full_at=F("full"))
    )
    if not spent:
        wait = math.ceil(step.total_seconds())
        raise OverQuota(quota="trigger_rate", value=row.rate_count, use=row.rate_count, retry_after=max(1, wait),
                        rate=rate(row))  # fmt: skip


def _start(row: Trigger, headers: Mapping[str, str], body: bytes, origin: str) -> Received:
    try:
        decoded = jsonvalue.decode(body)
    except BadJson as error:
        raise unreadable(error) from None
    seen = {key: value for key, value in headers.items() if key not in HIDDEN}
    scope = {"body": decoded, "headers": seen, "tenant": {"slug": row.tenant.slug}}
    labels = jsonvalue.decode(row.labels)
    assert isinstance(labels, dict)
    submission: dict[str, object] = {
        "input": decoded if row.input is None else _evaluated(row.input, scope, "/input"),
        "labels": {**labels, OURS: row.name},
    }
    if row.priority is not None:
        submission["priority"] = row.priority
    key = sha256(_dedup(row, scope, headers, body).encode()).hexdigest()
    try:
        made = submit_run(
            tenant=row.tenant,
            workflow=row.workflow.name,
            body=_checked(submission),
            key=f"trigger:{row.name}:{key}",
            actor=Actor(kind="trigger", name=row.name, origin=origin),
        )
    except IdempotencyMismatch as error:
        # the same key with another body: the first one counts
        known = error.facts["run_id"]
        assert isinstance(known, UUID)
        return Received(known, replayed=True)
    return Received(made.run_id, made.replayed)


def _evaluated(text: str, scope: Mapping[str, object], place: str) -> object:
    try:
        return compile_template(jsonvalue.decode(text), allow=ROOTS).evaluate(scope)
    except ExpressionFailed as error:
        problem = Problem(place, error.message, "bad_expression")
        raise InvalidRequest(problems=[problem]) from None


def _checked(submission: dict[str, object]) -> dict[str, object]:
    """The submission, if JSON can hold it: an expression may have made what it cannot."""
    try:
        jsonvalue.encode(submission)
    except NotJson as error:
        problem = Problem("/input", error.reason, "not_json")
        raise InvalidRequest(problems=[problem]) from None
    return submission


def _dedup(
    row: Trigger, scope: Mapping[str, object], headers: Mapping[str, str], body: bytes
) -> str:
    """What makes two requests the same one.  Unless the trigger says it: what was signed."""
    if row.dedup_key is not None:
        value = _evaluated(jsonvalue.encode(row.dedup_key), scope, "/dedup_key")
        if value is None or isinstance(value, (dict, list)) or value == "":
            message = "came to nothing that could be a key"
            raise InvalidRequest(problems=[Problem("/dedup_key", message, "bad_expression")])
        return f"key {value}"
    if row.scheme == Scheme.GITHUB and GITHUB_DELIVERY in headers:
        return f"delivery {headers[GITHUB_DELIVERY]}"
    stamp = headers.get("millrace-timestamp", "") if row.scheme == Scheme.MILLRACE else ""
    return f"signed {stamp} {sha256(body).hexdigest()}"


def _deliver(
    row: Trigger,
    body: bytes,
    origin: str,
    outcome: str,
    *,
    run_id: UUID | None = None,
    code: str | None = None,
    detail: str | None = None,
) -> None:
    TriggerDelivery.objects.create(
        tenant_id=row.tenant_id,
        trigger=row,
        outcome=outcome,
        run_id=run_id,
        code=code,
        detail=detail,
        size_bytes=len(body),
        origin=origin[:100],
    )
