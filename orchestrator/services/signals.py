"""Signals: sent to runs, for their steps that wait for them."""

from __future__ import annotations

from functools import partial
from uuid import UUID

from django.db import transaction

from orchestrator import dispatch, store
from orchestrator.domain import jsonvalue
from orchestrator.domain.definition.reader import Reader
from orchestrator.domain.errors import (
    InvalidRequest,
    OverQuota,
    Problem,
    SignalNotFound,
    StateConflict,
    TooLarge,
)
from orchestrator.domain.statuses import TERMINAL_RUN
from orchestrator.models import Run
from orchestrator.selectors.runs import access_run
from orchestrator.selectors.versions import SignalFacts, version_facts
from orchestrator.services.submissions import LONGEST_KEY
from orchestrator.store import signals
from tenants.actors import Actor
from tenants.models import Tenant
from tenants.services import record


def access_signal(*, tenant: Tenant, run_id: UUID | str, name: str) -> tuple[Run, SignalFacts]:
    """The tenant's run, and what its steps take as this signal.  Raises RunNotFound, SignalNotFound."""
    run = access_run(tenant=tenant, run_id=run_id)
    facts = version_facts(run.version_id).signals.get(name)
    if facts is None:
        raise SignalNotFound(signal=name)
    return run, facts


@transaction.atomic
def send_signal(
    *, tenant: Tenant, run_id: UUID | str, name: str, body: object, actor: Actor
) -> UUID:
    """Send a signal (`body`: `{payload, dedup_key?}`) to a run: the first of its steps that waits for
    it goes on; where none does yet, it is kept.  The same dedup key again does nothing.

    Raises RunNotFound, SignalNotFound, InvalidRequest, TooLarge, StateConflict (the run has ended),
    OverQuota (as many are kept as may be)."""
    run, facts = access_signal(tenant=tenant, run_id=run_id, name=name)
    payload, dedup_key = _read(body, facts, tenant.quota.max_payload_bytes)
    sent = signals.send(
        store.connection(),
        tenant_id=tenant.pk,
        run_id=run.pk,
        name=name,
        ordinals=facts.ordinals,
        payload=payload,
        dedup_key=dedup_key,
        actor=str(actor),
    )
    if sent.outcome in TERMINAL_RUN:
        raise StateConflict(state=sent.outcome, action="signal")
    if sent.outcome == "full":
        most = signals.MOST_KEPT
        raise OverQuota(quota="kept_signals", value=most, use=most)
    if sent.outcome != "known":
        record(
            tenant=tenant,
            actor=actor,
            action="run.signal",
            target=str(run.pk),
            after={"signal": name, "dedup_key": dedup_key},
        )
    transaction.on_commit(partial(dispatch.wake, sent.wake))
    return run.pk


def _read(body: object, facts: SignalFacts, max_bytes: int) -> tuple[str, str | None]:
    """The payload (JSON) and the dedup key."""
    reader = Reader()
    raw = reader.mapping(body, "", ("payload", "dedup_key"))
    if raw is None:
        raise InvalidRequest(problems=reader.problems)
    key = raw.get("dedup_key")
    if key is not None and not isinstance(key, str):
        reader.note("/dedup_key", "must be text", "wrong_type")
    elif isinstance(key, str) and not 1 <= len(key) <= LONGEST_KEY:
        reader.note("/dedup_key", f"has 1 to {LONGEST_KEY} characters", "out_of_range")
    payload = raw.get("payload")
    wrong: list[Problem] = []
    for validator in facts.validators:
        wrong += validator.problems(payload, "/payload")
    if reader.problems or wrong:
        raise InvalidRequest(problems=[*reader.problems, *wrong])
    try:
        text = jsonvalue.encode(payload, max_bytes=max_bytes)
    except jsonvalue.TooBig:
        message = f"The payload is larger than {max_bytes:,} bytes."
        raise TooLarge(message, limit=max_bytes) from None
    return text, key if isinstance(key, str) else None
