"""Bulk actions: asked for, and worked off by the clock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from django.db import transaction
from uuid_utils.compat import uuid7

from orchestrator import dispatch, store
from orchestrator.domain import jsonvalue
from orchestrator.domain.definition.reader import Raw, Reader
from orchestrator.domain.errors import InvalidRequest
from orchestrator.domain.throttles import per_second
from orchestrator.models import Action, Workflow
from orchestrator.store import Connection, actions
from orchestrator.store.actions import Letters
from tenants.actors import Actor
from tenants.models import Tenant
from tenants.services import record

FIELDS = ("ids", "workflow", "step", "code", "fingerprint", "all", "rate")
FILTERS = ("workflow", "step", "code", "fingerprint")
DEFAULT_RATE = "10/1s"
MOST_IDS = 1000
LONGEST_TEXT = 200
AT_ONCE = 20
"""Items of an action in one transaction, which holds its tenant's mutex for some milliseconds each."""
LARGEST_ID = 2**62


@dataclass(frozen=True, slots=True)
class Asked:
    """A retry of dead letters, as a body asks for it."""

    letters: Letters
    rate_per_s: float


@transaction.atomic
def retry_dead_letters(*, tenant: Tenant, body: object, actor: Actor) -> Action:
    """Retry the steps of some dead letters: `ids`, or what `workflow`, `step`, `code` and
    `fingerprint` narrow, or `all`; at most `rate` of them in a time ("10/1s" unless given).

    Which they are is decided now; the clock does it.  Raises InvalidRequest."""
    asked = _read(tenant, body)
    action_id = uuid7()
    assert isinstance(body, Mapping)
    actions.retry_letters(
        store.connection(),
        action_id=action_id,
        tenant_id=tenant.pk,
        letters=asked.letters,
        asked=jsonvalue.encode(dict(body)),
        actor=str(actor),
        rate_per_s=asked.rate_per_s,
    )
    made = Action.objects.get(pk=action_id)
    record(
        tenant=tenant,
        actor=actor,
        action="dead_letters.retry",
        target=str(action_id),
        after={**body, "total": made.total},
    )
    return made


def _read(tenant: Tenant, body: object) -> Asked:
    reader = Reader()
    raw = reader.mapping(body, "", FIELDS)
    if raw is None:
        raise InvalidRequest(problems=reader.problems)
    ids = _ids(reader, raw)
    texts = {key: reader.text(raw, "", key, longest=LONGEST_TEXT) for key in FILTERS if key in raw}
    every = reader.flag(raw, "", "all", default=False)
    if not reader.problems and not ids and not texts and not every:
        message = f"say which: ids, {', '.join(FILTERS)}, or all"
        reader.note("", message, "missing")
    workflow_id = None
    if "workflow" in texts:
        found = Workflow.objects.filter(tenant=tenant, name=texts["workflow"])
        workflow_id = found.values_list("pk", flat=True).first()
        if workflow_id is None:
            reader.note("/workflow", "no such workflow", "unknown_workflow")
    rate = 0.0
    try:
        rate = per_second(raw.get("rate", DEFAULT_RATE))
    except ValueError as error:
        reader.note("/rate", str(error), "bad_rate")
    if reader.problems:
        raise InvalidRequest(problems=reader.problems)
    letters = Letters(
        ids=ids,
        workflow_id=workflow_id,
        step=texts.get("step"),
        code=texts.get("code"),
        fingerprint=texts.get("fingerprint"),
    )
    return Asked(letters, rate)


def _ids(reader: Reader, raw: Raw) -> list[int] | None:
    if "ids" not in raw:
        return None
    ids = raw["ids"]
    if not isinstance(ids, list) or not 1 <= len(ids) <= MOST_IDS:
        reader.note("/ids", f"must be a list of 1 to {MOST_IDS:,} ids", "wrong_type")
        return None
    for place, number in enumerate(ids):
        if not isinstance(number, int) or isinstance(number, bool) or not 0 < number < LARGEST_ID:
            reader.note(f"/ids/{place}", "must be a dead letter's id", "wrong_type")
    return ids


def act(connection: Connection) -> int:
    """Work on the actions that are due; answers how many items were done (a duty of the clock)."""
    done, queues = actions.act(connection, limit=AT_ONCE)
    dispatch.wake(queues)
    return done
