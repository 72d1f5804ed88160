"""Service levels, always of a tenant: one, a page of them, what they came to, runs that are awaited."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from django.db.models import F
from django.utils import timezone

from orchestrator import store
from orchestrator.domain.durations import format_duration
from orchestrator.domain.errors import SlaNotFound
from orchestrator.domain.slo import FIELDS, Measure, Rule, Scope, Sums, budget_left
from orchestrator.domain.slo.budget import quantile_of_ended
from orchestrator.domain.slo.rules import P95, Bound
from orchestrator.domain.slo.words import promise
from orchestrator.models import Sla, SlaDeadline, SlaProposal, SlaSample, SlaState, Workflow
from orchestrator.selectors.paging import DEFAULT_LIMIT, seal, unseal
from orchestrator.selectors.slo_history import within
from orchestrator.selectors.stats import measure
from orchestrator.store import sla_history, sla_rules
from orchestrator.store.sla_rules import Counted
from tenants.models import Tenant

CURSOR = "slas"
RUNS_SHOWN = 20
STALE_S = 60.0
"""A prediction that is older than this is not shown."""
PERCENTILE_S = 1.0
NO_NAME = "(deleted)"
Row = dict[str, Any]


def access_sla(*, tenant: Tenant, name: str, lock: bool = False) -> Sla:
    """The tenant's rule.  Raises SlaNotFound; absent and foreign look the same."""
    rows = Sla.objects.select_for_update() if lock else Sla.objects.all()
    found = None if "\0" in name else rows.filter(tenant=tenant, name=name).first()
    if found is None:
        raise SlaNotFound(sla=name)
    return found


def counted(row: Sla) -> Counted:
    """The rule as it is counted and judged."""
    return Counted(
        row.pk or 0, row.tenant_id, rule_of(row), Scope(tuple(row.workflow_ids), row.labels)
    )


def rule_of(row: Sla) -> Rule:
    """The rule as it is judged."""
    return sla_rules.rule_from({name: getattr(row, name) for name in sla_rules.RULE})


def workflow_names(rows: Iterable[Sla]) -> dict[int, str]:
    """The names of the workflows that these rules are about, by id."""
    rows = list(rows)
    ids = {pk for row in rows for pk in row.workflow_ids}
    tenants = {row.tenant_id for row in rows}
    found = Workflow.objects.filter(tenant_id__in=tenants, pk__in=ids)
    return dict(found.values_list("pk", "name"))


def document(row: Sla, names: Mapping[int, str] | None = None) -> Row:
    """What a body says to make the same rule."""
    known = workflow_names([row]) if names is None else names
    nature = rule_of(row).nature
    found: Row = {
        "name": row.name,
        "description": row.description,
        "kind": row.kind,
        "workflows": [known.get(pk, NO_NAME) for pk in row.workflow_ids],
        "labels": row.labels,
        "threshold": _shown(row.threshold, seconds=nature.threshold is Bound.SECONDS),
        "target": row.target,
        "window": _duration(row.window_s),
        "min_samples": row.min_samples,
        "no_data": row.no_data,
        "for": _duration(row.for_s),
        "clear_for": _duration(row.clear_for_s),
        "clear_threshold": _shown(row.clear_threshold, seconds=nature.unit == "s"),
        "burn": [
            {"long": _duration(long), "short": _duration(short), "factor": factor}
            for long, short, factor in row.burn
        ],
        "severity": row.severity,
        "enabled": row.enabled,
    }
    assert tuple(found) == FIELDS
    return found


def sla_view(
    row: Sla, state: SlaState | None = None, names: Mapping[int, str] | None = None
) -> Row:
    """An SLA as the API's lists show it."""
    return {
        **document(row, names),
        "promise": promise(rule_of(row)),
        "status": _status(row, state),
        "created_at": row.created_at,
        "updated_at": row.updated_at,
        "updated_by": row.updated_by,
    }


def sla_detail(row: Sla) -> Row:
    """An SLA as the API shows one: also its percentile, and the runs that are late or will be."""
    state = SlaState.objects.filter(tenant_id=row.tenant_id, sla=row).first()
    late, predicted = awaited(row)
    share = (row.target if rule_of(row).nature.takes_target else P95) or P95
    timed = rule_of(row).seconds is not None
    sums = Sums() if state is None else Sums(state.total, state.good, late=state.late)
    within_s = None
    if rule_of(row).nature.unit == "s" and state is not None and state.value is not None:
        within_s = state.value
    elif timed and sums.total:
        ended = min(quantile_of_ended(share, sums), 1.0)
        within_s = percentile(counted(row), share=ended, now=timezone.now(), budget_s=PERCENTILE_S)
    return {
        **sla_view(row, state),
        "percentile": {
            "share": share if timed else None,
            "value_s": within_s,
        },
        "late": [_awaited_view(one) for one in late],
        "predicted": [_awaited_view(one) for one in predicted],
    }


def list_slas(
    *, tenant: Tenant, limit: int = DEFAULT_LIMIT, cursor: str | None = None
) -> tuple[list[tuple[Sla, SlaState | None]], str | None]:
    """A page of rules by name, each with what it came to, and where the next begins."""
    rows = Sla.objects.filter(tenant=tenant)
    if cursor is not None:
        (after,) = unseal(CURSOR, cursor, 1)
        rows = rows.filter(name__gt=after)
    found = list(rows.order_by("name")[: limit + 1])
    more = len(found) > limit
    found = found[:limit]
    states = {
        one.sla_id: one for one in SlaState.objects.filter(tenant_id=tenant.pk, sla__in=found)
    }
    page = [(row, states.get(row.pk)) for row in found]
    return page, seal(CURSOR, found[-1].name) if more else None


def list_views(
    *, tenant: Tenant, limit: int = DEFAULT_LIMIT, cursor: str | None = None
) -> tuple[list[Row], str | None]:
    """The same as the API shows it."""
    page, more = list_slas(tenant=tenant, limit=limit, cursor=cursor)
    names = workflow_names([row for row, _ in page])
    return [sla_view(row, state, names) for row, state in page], more


def _status(row: Sla, state: SlaState | None) -> Row:
    if not row.enabled:
        return {**_NO_STATUS, "state": "disabled"}
    if state is None:
        return {**_NO_STATUS, "state": "pending"}
    rule = rule_of(row)
    return {
        "state": state.sight,
        "at": state.at,
        "since": state.changed_at,
        "value": state.value,
        "limit": rule.limit,
        "unit": rule.nature.unit,
        "samples": state.total + state.late,
        "good": state.good,
        "late": state.late,
        "no_data": state.no_data,
        "objective": rule.objective,
        "budget_left": state.budget,
        "burn": burn_view(rule, state),
        "error": state.error,
    }


_NO_STATUS: Row = {
    "at": None, "since": None, "value": None, "limit": None, "unit": None, "samples": None,
    "good": None, "late": None, "no_data": None, "objective": None, "budget_left": None, "burn": [],
    "error": None,
}  # fmt: skip


def burn_view(rule: Rule, state: SlaState) -> list[Row]:
    """How fast the budget goes, by pair of windows."""
    return [
        {
            "long": _duration(pair.long_s),
            "short": _duration(pair.short_s),
            "factor": pair.factor,
            "long_rate": rates[0],
            "short_rate": rates[1],
            "burning": min(rates) >= pair.factor,
        }
        for pair, rates in zip(rule.burn, state.burns, strict=False)
    ]


def percentile(rule: Counted, *, share: float, now: datetime, budget_s: float) -> float | None:
    """The seconds within which this share of the window's ended samples lies; None: not known."""
    since = now - timedelta(seconds=rule.rule.window_s)
    kind = rule.rule.nature.measure
    if kind is Measure.FRESH or (rule.scope.labels and kind is Measure.RUN):
        try:
            with within(budget_s):
                return sla_history.percentile(store.connection(), rule, share=share, since=since)
        except TimeoutError:
            return None
    name = {Measure.QUEUE: "queue", Measure.READY: "ready", Measure.RUN: "run"}.get(kind)
    if name is None or rule.scope.labels:
        return None
    found = measure(
        tenant_id=rule.tenant_id,
        workflow_ids=rule.scope.workflow_ids or None,
        since=since,
        until=now + timedelta(seconds=10),
        of=(name,),
    )
    value: float | None = getattr(found, name).quantile(share)
    return value


def awaited(row: Sla, limit: int = RUNS_SHOWN) -> tuple[list[SlaDeadline], list[SlaDeadline]]:
    """Runs that go on: those that are late, longest first, and those that are predicted to be."""
    now = timezone.now()
    rows = SlaDeadline.objects.filter(tenant_id=row.tenant_id, sla=row)
    late = list(rows.filter(due_at__lte=now).order_by("due_at")[:limit])
    fresh = now - timedelta(seconds=STALE_S)
    predicted = rows.filter(
        due_at__gt=now, expected_at__gt=F("due_at"), predicted_at__gte=fresh
    ).order_by("due_at")
    return late, list(predicted[:limit])


def misses_of_run(*, tenant: Tenant, run_id: UUID) -> list[Row]:
    """The rules for which a run is late, or predicted to be; nearest first."""
    now = timezone.now()
    rows = (
        SlaDeadline.objects.filter(tenant_id=tenant.pk, run_id=run_id, sla__enabled=True)
        .select_related("sla")
        .order_by("due_at")[:RUNS_SHOWN]
    )
    fresh = now - timedelta(seconds=STALE_S)
    found = []
    for row in rows:
        known = row.predicted_at is not None and row.predicted_at >= fresh
        late = row.due_at <= now
        if late or (known and row.expected_at is not None and row.expected_at > row.due_at):
            found.append({**_awaited_view(row), "sla": row.sla.name, "late": late})
    return found


def _awaited_view(row: SlaDeadline) -> Row:
    return {
        "run_id": row.run_id,
        "due_at": row.due_at,
        "expected_at": row.expected_at,
        "path": row.path,
    }


def budget_line(row: Sla, *, now: datetime | None = None) -> list[tuple[datetime, float | None]]:
    """What was left of the budget, over the last window's length: at most about 200 points.

    Each point looks back a whole window; None where nothing was counted in it."""
    rule = rule_of(row)
    objective = rule.objective
    if objective is None:
        return []
    until = int((now or timezone.now()).timestamp())
    span = int(rule.window_s)
    width = 60 if span <= 86_400 else 3600
    begin = (until - 2 * span) // width * width
    rows = SlaSample.objects.filter(
        tenant_id=row.tenant_id, sla=row, width_s=width, at__gte=_time(begin)
    ).values_list("at", "total", "good")
    sums = {int(at.timestamp()): (total, good) for at, total, good in rows}
    count = (until - begin) // width + 1
    totals, goods = [0], [0]
    for nr in range(count):
        total, good = sums.get(begin + nr * width, (0, 0))
        totals.append(totals[-1] + total)
        goods.append(goods[-1] + good)
    reach = max(span // width, 1)
    step = max(reach // 180, 1)
    line: list[tuple[datetime, float | None]] = []
    for nr in range(count - reach // step * step, count + 1, step):
        first = max(nr - reach, 0)
        window = Sums(totals[nr] - totals[first], goods[nr] - goods[first])
        left = budget_left(window, objective) if window.total else None
        line.append((_time(begin + nr * width), left))
    state = SlaState.objects.filter(tenant_id=row.tenant_id, sla=row).first()
    if line and state is not None and not state.no_data:
        line[-1] = (line[-1][0], state.budget)  # with the runs that are late just now
    return line


def proposals(
    *, tenant: Tenant, limit: int = 100, cursor: str | None = None
) -> tuple[list[Row], str | None]:
    """Rules that are proposed and not decided, by workflow, and where the next page begins.

    Raises InvalidCursor."""
    rows = SlaProposal.objects.filter(tenant_id=tenant.pk, decision__isnull=True)
    if cursor is not None:
        rows = rows.filter(workflow__name__gt=unseal("proposals", cursor, 1)[0])
    found = list(rows.select_related("workflow").order_by("workflow__name")[: limit + 1])
    shown = found[:limit]
    more = seal("proposals", shown[-1].workflow.name) if len(found) > limit else None
    return [
        {
            "workflow": row.workflow.name,
            "kind": "p95_threshold",
            "threshold": _duration(row.threshold_s),
            "p95_s": row.p95_s,
            "runs": row.run_count,
            "made_at": row.made_at,
        }
        for row in shown
    ], more


def _shown(value: float | None, *, seconds: bool) -> str | float | None:
    return _duration(value) if seconds and value is not None else value


def _duration(seconds: float) -> str:
    return format_duration(timedelta(seconds=seconds))


def _time(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
