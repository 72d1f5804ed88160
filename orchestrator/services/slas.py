"""Service levels: made, edited, deleted, tried on the past, proposed and accepted."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models.functions import Now
from django.utils import timezone

from orchestrator import store
from orchestrator.domain.durations import format_duration
from orchestrator.domain.errors import ProposalNotFound
from orchestrator.domain.slo import Firing, Measure, Replay, replay
from orchestrator.domain.slo.replaying import HOUR, MINUTE
from orchestrator.models import Sla, SlaDeadline, SlaProposal, SlaSample, SlaState, Workflow
from orchestrator.selectors.slas import access_sla, counted, document
from orchestrator.selectors.slo_history import History, history, within
from orchestrator.services import alerting
from orchestrator.services.bounds import check_room, take_turn
from orchestrator.services.sla_counting import FINE_KEPT_S
from orchestrator.services.sla_documents import SlaSpec, read_sla
from orchestrator.store import sla_history, sla_rules, slas
from orchestrator.store.sla_rules import Counted
from orchestrator.store.slas import Sample
from tenants.actors import SYSTEM, Actor
from tenants.errors import AlreadyThere
from tenants.models import Tenant
from tenants.services import record

MOST_RULES = 100
"""Of a tenant."""
LONGEST_NAME = 63
BACK_S = 32 * 86_400
"""How far back a new rule's samples are looked for."""
BACK_BUDGET_S = 2.0
PREVIEW_DAYS = 14
PREVIEW_BUDGET_S = 3.0
EXAMPLES_S = 1.0
INTERVALS_SHOWN = 200
EXAMPLES_SHOWN = 20
EXAMPLES_EACH = 5
DEFAULTS: tuple[dict[str, object], ...] = (
    {
        "name": "error-rate",
        "description": "Every tenant begins with this rule.",
        "kind": "error_rate_ceiling",
        "threshold": 0.01,
        "window": "1h",
        "min_samples": 20,
        "for": "5m",
        "clear_for": "5m",
    },
    {
        "name": "readiness",
        "description": "Every tenant begins with this rule.",
        "kind": "readiness_p95",
        "threshold": "100ms",
        "window": "1h",
        "min_samples": 20,
        "for": "5m",
        "clear_for": "5m",
    },
)
_WORD = re.compile(r"[^a-z0-9._-]")


@dataclass(frozen=True, slots=True)
class Preview:
    """What a rule would have done from `since` to `until`.

    `complete`: whether it could be looked back as far as was asked; `exact_since`: from when on it
    was counted from the events, not from the rollups' sketches.  `examples`: by firing, of the newest,
    a few runs that were bad around it, newest first."""

    since: datetime
    until: datetime
    complete: bool
    exact_since: datetime
    found: Replay
    samples: int
    good: int
    examples: Mapping[Firing, Sequence[UUID]]

    @property
    def run_ids(self) -> tuple[UUID, ...]:
        """The examples of all firings."""
        ids = dict.fromkeys(one for some in self.examples.values() for one in some)
        return tuple(ids)[:EXAMPLES_SHOWN]

    def intervals(self) -> list[dict[str, object]]:
        """When it would have fired, the newest first, and on which runs."""
        newest = list(reversed(self.found.firings))[:INTERVALS_SHOWN]
        return [
            {
                "since": _time(one.since),
                "until": None if one.until is None else _time(one.until),
                "run_ids": list(self.examples.get(one, ())),
            }
            for one in newest
        ]


def create_sla(*, tenant: Tenant, body: object, actor: Actor) -> Sla:
    """A new rule, named by its body.  Raises InvalidRequest, AlreadyThere, OverQuota."""
    made, _ = _write(tenant, read_sla(tenant=tenant, body=body, name=None), actor, replace=False)
    return made


def replace_sla(*, tenant: Tenant, name: str, body: object, actor: Actor) -> tuple[Sla, bool]:
    """The rule `name` as `body` says, and whether it is new.  Where what is counted changes, it is
    counted anew, and runs that go on get their new time.  Raises InvalidRequest, OverQuota."""
    spec = read_sla(tenant=tenant, body=body, name=name)
    return _write(tenant, spec, actor, replace=True)


@transaction.atomic
def delete_sla(*, tenant: Tenant, name: str, actor: Actor) -> None:
    """Delete a rule with all that was counted for it; its alert resolves.  Raises SlaNotFound."""
    slas.hold_cursor(store.connection(), tenant.pk)
    row = access_sla(tenant=tenant, name=name, lock=True)
    record(tenant=tenant, actor=actor, action="sla.deleted", target=name, before=document(row))
    rule_id = row.pk
    row.delete()
    _settle(tenant, rule_id, "The rule was deleted.")


@transaction.atomic
def _write(tenant: Tenant, spec: SlaSpec, actor: Actor, *, replace: bool) -> tuple[Sla, bool]:
    seq = slas.hold_cursor(store.connection(), tenant.pk)
    rows = Sla.objects.filter(tenant=tenant)
    row = rows.filter(name=spec.name).first()
    if row is not None and not replace:
        raise AlreadyThere(f"The SLA {spec.name} is there already.", sla=spec.name)
    created = row is None
    before = None if row is None else document(row)
    old = None if row is None else _what(row)
    if row is None:
        check_room(tenant=tenant, quota="max_slas", value=MOST_RULES, rows=rows)
        row = Sla(tenant=tenant, name=spec.name)
    _fill(row, spec)
    row.updated_at, row.updated_by = timezone.now(), str(actor)
    try:
        with transaction.atomic():
            row.save()
    except IntegrityError:
        raise AlreadyThere(f"The SLA {spec.name} is there already.", sla=spec.name) from None
    row.refresh_from_db()
    if old != _what(row):
        _recount(row, seq)
    if old is not None and (not row.enabled or old[1:3] != _what(row)[1:3]):
        reason = "The rule was changed." if row.enabled else "The rule was disabled."
        _settle(tenant, row.pk, reason)
    record(
        tenant=tenant,
        actor=actor,
        action="sla.created" if created else "sla.changed",
        target=spec.name,
        before=before,
        after=document(row),
    )
    return row, created


def _fill(row: Sla, spec: SlaSpec) -> None:
    """The columns as `spec` says."""
    row.description = spec.description
    row.workflow_ids = list(spec.scope.workflow_ids)
    row.labels = dict(spec.scope.labels)
    row.enabled = spec.enabled
    for name in sla_rules.RULE:
        if name != "burn":
            setattr(row, name, getattr(spec.rule, name))
    row.burn = [[pair.long_s, pair.short_s, pair.factor] for pair in spec.rule.burn]


def _what(row: Sla) -> tuple[object, ...]:
    """What of a rule says what is counted for it; the second and third are whose runs."""
    rule = counted(row).rule
    return (
        row.enabled, tuple(row.workflow_ids), row.labels,
        rule.nature.measure, rule.seconds, rule.clear_seconds,
    )  # fmt: skip


def _recount(row: Sla, seq: int) -> None:
    """Count a rule's samples anew, up to the cursor's position, and await the runs that go on.

    Behind the cursor's lock: what comes after the position, the clock adds."""
    for model in (SlaSample, SlaDeadline, SlaState):
        model.objects.filter(tenant_id=row.tenant_id, sla=row).delete()
    if not row.enabled:
        return
    rule = counted(row)
    until = int(timezone.now().timestamp()) // HOUR * HOUR + 2 * HOUR
    found = history(rule, since=until - BACK_S, until=until, upto=seq, budget_s=BACK_BUDGET_S)
    samples = [Sample(row.pk, at, *one) for at, one in sorted(found.slices.items()) if one.total]
    slas.add(store.connection(), samples, fine_since=int(time.time() - FINE_KEPT_S))
    if rule.rule.nature.per_run:
        slas.await_runs(store.connection(), rule)
    Sla.objects.filter(pk=row.pk).update(counted_since=_time(found.since))
    row.counted_since = _time(found.since)


def _settle(tenant: Tenant, rule_id: int, reason: str) -> None:
    """End the rule's alerts, when everything else is done: it takes the tenant's mutex up to the end of
    the transaction, for which its runs wait, and others' timers."""
    alerting.settle(
        f"sla:{rule_id}", tenant_id=tenant.pk, connection=store.connection(), reason=reason
    )


# -- on the past -------------------------------------------------------------------------------


@transaction.atomic
def preview_sla(
    *, tenant: Tenant, body: object, budget_s: float = PREVIEW_BUDGET_S, now: datetime | None = None
) -> Preview:
    """How often the rule that `body` says would have fired in the last 14 days; of a tenant one such
    question at a time.  Raises InvalidRequest, OverQuota."""
    spec = read_sla(tenant=tenant, body=body, name=None, named=False)
    take_turn(tenant=tenant, quota="sla_previews")
    rule = Counted(0, tenant.pk, spec.rule, spec.scope)
    until = int((now or timezone.now()).timestamp()) // MINUTE * MINUTE + MINUTE
    since = until - PREVIEW_DAYS * 86_400
    reach = int(max(spec.rule.spans)) // HOUR * HOUR + 2 * HOUR
    past = history(rule, since=since - reach, until=until, budget_s=budget_s)
    begin, complete = _begin(rule, past, since, since - reach)
    begin = min(begin, until)
    found = replay(spec.rule, past.slices, since=begin, until=until, crossings=past.crossings)
    inside = [one for at, one in past.slices.items() if at >= begin]
    return Preview(
        since=_time(begin),
        until=_time(until),
        complete=complete,
        exact_since=_time(max(past.exact_since, begin)),
        found=found,
        samples=sum(one.total for one in inside),
        good=sum(one.good for one in inside),
        examples=_examples(rule, found, until),
    )


def _begin(rule: Counted, past: History, since: int, asked: int) -> tuple[int, bool]:
    """From when on a rule is replayed whose past was `asked` for from then on, and whether that leaves
    nothing out.

    Where an empty window is bad, it is replayed over whole windows alone, and not over the time before
    there was anything that could have run."""
    known = past.since if past.since > asked else since
    if not rule.rule.bad_when_empty:
        return max(since, known), known <= since
    if past.since > asked:
        known += -int(-max(rule.rule.spans) // MINUTE) * MINUTE
    workflows = Workflow.objects.filter(tenant_id=rule.tenant_id, pk__in=rule.scope.workflow_ids)
    owners = workflows if rule.scope.workflow_ids else Tenant.objects.filter(pk=rule.tenant_id)
    made = [int(at.timestamp()) for at in owners.values_list("created_at", flat=True)]
    seen = (at for at, one in past.slices.items() if one.total)
    born = min([*made, *seen], default=since) // MINUTE * MINUTE
    return max(since, known, born), known <= since


def _examples(rule: Counted, found: Replay, until: int) -> Mapping[Firing, Sequence[UUID]]:
    """A few runs that were bad around each of the newest firings, while there is time to look."""
    examples: dict[Firing, Sequence[UUID]] = {}
    if rule.rule.nature.measure in (Measure.RATE, Measure.READY):
        return examples  # that runs are missing, or that steps are slow to begin, no run shows
    span = int(rule.rule.window_s + (rule.rule.seconds or 0))
    try:
        with within(EXAMPLES_S):
            for firing in reversed(found.firings[-EXAMPLES_SHOWN:]):
                examples[firing] = sla_history.examples(
                    store.connection(),
                    rule,
                    since=_time(firing.since - span),
                    until=_time(firing.until or until),
                    most=EXAMPLES_EACH,
                )
    except TimeoutError:
        pass
    return examples


# -- what every tenant begins with, and what is proposed ------------------------------------------


@transaction.atomic
def make_defaults(*, tenant: Tenant) -> int:
    """The rules that a tenant begins with, once: those that it deletes do not come back.

    Answers how many were made."""
    if not slas.mark_defaults(store.connection(), tenant.pk):
        return 0
    there = set(Sla.objects.filter(tenant=tenant).values_list("name", flat=True))
    wanted = [body for body in DEFAULTS if body["name"] not in there]
    wanted = wanted[: max(MOST_RULES - len(there), 0)]
    for body in wanted:
        create_sla(tenant=tenant, body=body, actor=SYSTEM)
    return len(wanted)


@transaction.atomic
def accept_proposal(*, tenant: Tenant, workflow: str, actor: Actor) -> Sla:
    """Make the rule that is proposed for a workflow.  Raises ProposalNotFound, AlreadyThere,
    OverQuota."""
    row = _access_proposal(tenant, workflow)
    body = {
        "name": _proposed_name(workflow),
        "kind": "p95_threshold",
        "workflows": [workflow],
        "threshold": format_duration(timedelta(seconds=row.threshold_s)),
        "window": "1d",
        "min_samples": 20,
        "for": "5m",
        "clear_for": "15m",
        "description": (
            f"Proposed: its 95th percentile was {row.p95_s:.3g} s over {row.run_count:,} runs."
        ),
    }
    made = create_sla(tenant=tenant, body=body, actor=actor)
    _decide(row, "accepted")
    return made


@transaction.atomic
def dismiss_proposal(*, tenant: Tenant, workflow: str, actor: Actor) -> None:
    """Propose nothing more for a workflow.  Raises ProposalNotFound."""
    row = _access_proposal(tenant, workflow)
    _decide(row, "dismissed")
    record(
        tenant=tenant,
        actor=actor,
        action="sla.proposal_dismissed",
        target=workflow,
        before={"p95_s": row.p95_s, "threshold_s": row.threshold_s},
    )


def _proposed_name(workflow: str) -> str:
    """A rule's name for a workflow: another one for each, also where not all of its name fits."""
    name = f"p95-{workflow}"
    fits = _WORD.sub("-", name)[:LONGEST_NAME]
    if fits == name:
        return name
    digest = hashlib.sha256(workflow.encode()).hexdigest()[:8]
    return f"{fits[: LONGEST_NAME - 9]}-{digest}"


def _access_proposal(tenant: Tenant, workflow: str) -> SlaProposal:
    found = None
    if "\0" not in workflow:
        found = (
            SlaProposal.objects.select_for_update(of=("self",))
            .filter(tenant_id=tenant.pk, workflow__name=workflow, decision__isnull=True)
            .first()
        )
    if found is None:
        raise ProposalNotFound(workflow=workflow)
    return found


def _decide(row: SlaProposal, decision: str) -> None:
    SlaProposal.objects.filter(tenant_id=row.tenant_id, workflow_id=row.workflow_id).update(
        decision=decision, decided_at=Now()
    )


def _time(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
