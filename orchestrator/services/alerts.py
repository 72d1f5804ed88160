"""What people do about alerts: see to them, end them."""

from __future__ import annotations

import json
from uuid import UUID

from django.db import transaction

from orchestrator import store
from orchestrator.domain.alerts import AlertState
from orchestrator.domain.definition.reader import Reader
from orchestrator.domain.errors import InvalidRequest, StateConflict
from orchestrator.models import Alert
from orchestrator.selectors.alerts import access_alert
from orchestrator.services import alerting
from orchestrator.store import alerts
from orchestrator.store.alerts import SERVER, AlertRow
from tenants.actors import Actor
from tenants.models import Tenant
from tenants.services import record

LONGEST_COMMENT = 1000


@transaction.atomic
def acknowledge_alert(
    *, tenant: Tenant | None, alert_id: UUID | str, body: object, actor: Actor
) -> Alert:
    """Say that somebody sees to a firing alert: it is not repeated any more.

    Raises AlertNotFound, InvalidRequest, StateConflict (it does not fire)."""
    row = access_alert(tenant=tenant, alert_id=alert_id)
    comment = read_comment(body)
    link = store.connection()
    alerts.lock(link, [SERVER if tenant is None else tenant.pk])
    at = alerts.acknowledge(link, alert_id=row.pk, by=str(actor))
    if at is None:
        raise _refused(row, "acknowledge")
    alerting.note(link, [(_standing(row), AlertState.ACKNOWLEDGED, comment)], at, by=str(actor))
    record(
        tenant=tenant, actor=actor, action="alert.acknowledged", target=str(row.pk),
        after={"rule": row.rule, "comment": comment},
    )  # fmt: skip
    row.refresh_from_db()
    return row


@transaction.atomic
def resolve_alert(
    *, tenant: Tenant | None, alert_id: UUID | str, body: object, actor: Actor
) -> Alert:
    """End an alert that fired, whatever its rule sees; while that stays bad, another one begins.

    Raises AlertNotFound, InvalidRequest, StateConflict (it is not open, or never fired)."""
    row = access_alert(tenant=tenant, alert_id=alert_id)
    comment = read_comment(body)
    link = store.connection()
    alerts.lock(link, [SERVER if tenant is None else tenant.pk])
    at = alerts.resolve(link, alert_id=row.pk, by=str(actor))
    if at is None:
        raise _refused(row, "resolve")
    standing = _standing(row)
    alerting.note(link, [(standing, AlertState.RESOLVED, comment)], at, by=str(actor))
    alerting.tell(link, [(standing, AlertState.RESOLVED)])
    record(
        tenant=tenant, actor=actor, action="alert.resolved", target=str(row.pk),
        after={"rule": row.rule, "comment": comment},
    )  # fmt: skip
    row.refresh_from_db()
    return row


def read_comment(body: object) -> str:
    """`comment` of a body, empty where it has none.  Raises InvalidRequest."""
    reader = Reader()
    raw = reader.mapping(body, "", ("comment",))
    found = "" if raw is None else reader.text(raw, "", "comment", longest=LONGEST_COMMENT)
    if "\0" in found:
        reader.note("/comment", "has U+0000", "out_of_range")
    if reader.problems:
        raise InvalidRequest(problems=reader.problems)
    return found.strip()


def _refused(row: Alert, action: str) -> StateConflict:
    row.refresh_from_db(fields=["state"])
    return StateConflict(state=row.state, action=action)


def _standing(row: Alert) -> AlertRow:
    return AlertRow(
        tenant_id=row.tenant_id or SERVER,
        rule=row.rule,
        fingerprint=row.fingerprint,
        id=row.pk,
        state=row.state,
        started_at=row.started_at,
        good_since=row.good_since,
        name=row.name,
        labels=json.dumps(json.loads(row.labels), ensure_ascii=False),
        severity=row.severity,
        value=row.value,
        threshold=row.threshold,
        unit=row.unit,
        summary=row.summary,
        run_ids=tuple(row.run_ids),
    )
