"""Why a step that could run is not running: which limit, since when, and what would free it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import urlsplit

from django.db.models import Sum
from django.db.models.functions import Now

from orchestrator import store
from orchestrator.conf import conf
from orchestrator.domain import jsonvalue
from orchestrator.models import Pool, Run, ServerLoad, StepRun, TenantLoad, Worker
from orchestrator.selectors.pools import held_back, visible_pools
from orchestrator.selectors.waits import DETAILS, run_waiting, step_waiting
from orchestrator.store import pauses
from tenants.models import Quota, Tenant

CLAIMS = -1
"""The slot of the server's total that carries the limit and what was claimed."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What may hold back a tenant's ready steps, at one moment."""

    suspended: bool
    in_use: int
    max_connections: int
    total_in_use: int
    total_max: int
    served: frozenset[tuple[str, int]]
    """(queue, handler id) that some live worker serves."""


def limits(tenant: Tenant) -> Limits:
    """The tenant's and the server's limits and use, and what live workers serve."""
    in_use = TenantLoad.objects.filter(pk=tenant.pk).values_list("in_use", flat=True).first()
    quota = Quota.objects.filter(pk=tenant.pk).values_list(
        "max_connections", "tenant__suspended_at"
    )
    maximum, suspended_at = quota.first() or (0, None)
    claimed, total = ServerLoad.objects.values_list("amount", "max_connections").get(slot=CLAIMS)
    released = ServerLoad.objects.exclude(slot=CLAIMS).aggregate(total=Sum("amount"))["total"] or 0
    alive = Worker.objects.filter(
        state="active", seen_at__gt=Now() - timedelta(seconds=conf().lease_s)
    ).values_list("queues", "handler_ids")
    served = {
        (queue, number) for queues, numbers in alive for queue in queues for number in numbers
    }
    return Limits(
        suspended=suspended_at is not None,
        in_use=in_use or 0,
        max_connections=maximum,
        total_in_use=claimed - released,
        total_max=total,
        served=frozenset(served),
    )


def explain(
    *, tenant: Tenant, steps: Collection[StepRun]
) -> dict[tuple[int, int], dict[str, object]]:
    """By (ordinal, batch), why these step runs of one run wait: `{reason, since, until, detail}`.

    Only `ready` and `waiting` ones are in the answer, and the first ones of a run that is held."""
    found: dict[tuple[int, int], dict[str, object]] = {}
    ready = [step for step in steps if step.state == "ready"]
    ended = [step for step in steps if step.state == "waiting" and step.wait_reason == "ended"]
    held = limits(tenant) if ready or ended else None
    for step in steps:
        if step.state == "waiting":
            told = step_waiting if step.wait_reason in DETAILS else _timer
            found[step.ordinal, step.batch] = told(step)
    if held is not None:
        run = _run(tenant, (ready or ended)[0])
        pools = visible_pools(tenant=tenant, names={step.pool for step in ready if step.pool})
        paused = _pause(tenant, run)
        for step in ready:
            reason, detail, until = _ready(step, run, paused, held, pools)
            since = step.ready_at
            if reason == "paused" and paused is not None:
                since = max(filter(None, (since, paused.since)))
            found[step.ordinal, step.batch] = _shape(reason, since, until, detail)
        if (stopped := _stopped(paused, held)) is not None:
            for step in ended:
                since = step.started_at if paused is None else paused.since
                found[step.ordinal, step.batch] = _shape("paused", since, None, stopped)
    found.update(_held(tenant, steps))
    return found


def _held(tenant: Tenant, steps: Collection[StepRun]) -> dict[tuple[int, int], dict[str, object]]:
    """Steps that wait for no other, of a run whose time or place has not come."""
    first = [step for step in steps if step.state == "blocked" and step.parents_left == 0]
    if not first:
        return {}
    run = Run.objects.only("held", "start_at", "created_at", "finished_at")
    why = run_waiting(run.get(tenant=tenant, pk=first[0].run_id))
    return {} if why is None else {(step.ordinal, step.batch): why for step in first}


def _run(tenant: Tenant, step: StepRun) -> Run:
    found = Run.objects.select_related("workflow").only(
        "state", "closing", "paused_at", "max_parallel", "parent_id", "workflow__paused_at"
    )
    return found.get(tenant=tenant, pk=step.run_id)


@dataclass(frozen=True, slots=True)
class _Pause:
    """What keeps anything new of a run from starting, and since when."""

    what: str
    since: datetime


def _pause(tenant: Tenant, run: Run) -> _Pause | None:
    """The pause of a run: its own, its workflow's, or that of a workflow above it.

    A run that closes is not paused: what may still run, may."""
    if run.closing is not None:
        return None
    since = min(filter(None, (run.paused_at, run.workflow.paused_at)), default=None)
    if since is not None:
        return _Pause("The run" if run.paused_at is not None else "The workflow", since)
    if run.parent_id is None:
        return None
    above = pauses.paused_above(store.connection(), tenant_id=tenant.pk, run_id=run.pk)
    return None if above is None else _Pause(f'The workflow "{above[0]}" of a run above', above[1])


def _shape(
    reason: str, since: datetime | None, until: datetime | None, detail: str
) -> dict[str, object]:
    return {"reason": reason, "since": since, "until": until, "detail": detail}


def _host(step: StepRun) -> str:
    """The host that a step calls, by the arguments that are kept while it waits."""
    try:
        args = jsonvalue.decode(step.args or "{}")
    except jsonvalue.BadJson:  # so large that it is kept elsewhere
        args = {}
    url = args.get("url") if isinstance(args, dict) else None
    return urlsplit(str(url)).hostname or "The host"


def _timer(step: StepRun) -> dict[str, object]:
    """A retry's or snooze's wait.  While it lasts, `charged_s` keeps its length."""
    reason = step.wait_reason or "retry"
    if reason == "compensate":
        detail = "It has failed; its compensation decides whether it goes on, is tried once more or stays so."
        return _shape(reason, step.started_at, None, detail)
    if reason == "cache":
        detail = "Another step makes the output of its cache key; it takes that when it is there."
        return _shape(reason, step.ready_at, None, detail)
    if step.due_at is None:
        detail = "The code of the attempt before has not ended yet; the delay begins when it has."
        return _shape(reason, step.started_at, None, detail)
    since = step.due_at - timedelta(seconds=step.charged_s)
    if reason == "snooze":
        detail = "The handler asked to be called again then; no attempt was used."
    elif reason == "breaker":
        detail = (
            f"{_host(step)} has failed too often: its circuit breaker is open. One step tries it"
            " then, and the others follow when it answers; no attempt is used."
        )
    else:
        detail = f"Attempt {step.attempts + 1} starts then, after the retry's delay."
    return _shape(reason, since, step.due_at, detail)


def _ready(
    step: StepRun, run: Run, paused: _Pause | None, held: Limits, pools: Mapping[str, Pool]
) -> tuple[str, str, datetime | None]:
    """The reason, what it means, and when it passes, where that is known."""
    if (
        step.pool
        and step.parked is None
        and not held.suspended
        and (step.queue, step.handler_id) in held.served
        and (why := held_back(step.pool, pools.get(step.pool))) is not None
    ):
        return "pool", why.detail, why.until
    return *_limit(step, run, paused, held), None


def _stopped(paused: _Pause | None, held: Limits) -> str | None:
    """What keeps anything new of the run from starting, whatever it is."""
    if paused is not None:
        return f"{paused.what} is paused; resuming it frees the step."
    if held.suspended:
        return "The tenant is suspended; resuming it frees the step."
    return None


def _limit(step: StepRun, run: Run, paused: _Pause | None, held: Limits) -> tuple[str, str]:
    if (stopped := _stopped(paused, held)) is not None:
        return "paused", stopped
    if step.parked == "max_parallel":
        return "max_parallel", (
            f"The run holds as many connections as its max_parallel allows ({run.max_parallel});"
            " one of its running steps must end first."
        )
    if step.parked == "control":
        return "queue", "Its condition is about to be evaluated; that takes no connection."
    if (step.queue, step.handler_id) not in held.served:
        return "no_worker", (
            f'No live worker serves the queue "{step.queue}" and has the step\'s handler;'
            " start one that does."
        )
    if held.in_use >= held.max_connections:
        return "connections", (
            f"The tenant holds {held.in_use} of its {held.max_connections} connections;"
            " a running step must end, or max_connections be raised."
        )
    if held.total_in_use >= held.total_max:
        return "total_connections", (
            f"The server holds {held.total_in_use} of its {held.total_max} connections;"
            " a running step must end, or the server's total be raised."
        )
    return "queue", "It is in the queue; a worker takes it next, after those before it."
