"""Whether a tenant's own work is well: what waits, what no worker can run, hosts that fail, limits."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.utils import timezone

from orchestrator.domain.health import Check, State
from orchestrator.models import Breaker, Handler, StepRun, TenantLoad
from orchestrator.selectors.quota import limits_in_use
from orchestrator.selectors.workers import live_workers
from tenants.models import Quota, Tenant

WAITING = timedelta(seconds=10)
READ_AT_MOST = 1000


def tenant_health(*, tenant: Tenant) -> list[Check]:
    """The tenant's own parts: `work`, `steps`, `hosts`, `limits`."""
    return [_work(tenant), _steps(tenant), _hosts(tenant), _limits(tenant)]


def _work(tenant: Tenant) -> Check:
    """How long what is ready waits."""
    if tenant.suspended_at is not None:
        return Check("work", State.DOWN, "The tenant is suspended: nothing starts.", "Ask staff.")
    load = TenantLoad.objects.filter(tenant_id=tenant.pk).first()
    limit = Quota.objects.values_list("max_connections", flat=True).get(tenant=tenant)
    in_use, ready = (load.in_use, load.ready_count) if load else (0, 0)
    said = f"{in_use} of {limit} connections in use, {ready:,} steps ready"
    heads = [] if not ready else _heads(tenant)
    if not heads or timezone.now() - min(heads) < WAITING:
        return Check("work", State.OK, f"{said}.")
    waits = (timezone.now() - min(heads)).total_seconds()
    said += f", the foremost for {waits:.0f} s."
    if in_use >= limit:
        return Check(
            "work", State.OK, said, "All connections are in use: more of them would start it earlier."
        )  # fmt: skip
    return Check("work", State.DEGRADED, said, "See the server's parts: it waits although it could start.")  # fmt: skip


def _heads(tenant: Tenant) -> list[datetime]:
    """When the foremost ready step of each queue that is served became ready."""
    queues = {"io", "cpu"} | {queue for one in live_workers() for queue in one.queues}
    found: list[datetime] = []
    for queue in sorted(queues):
        rows = StepRun.objects.filter(
            tenant=tenant, queue=queue, suspect=False, pool="", state="ready", parked__isnull=True
        )
        heads = rows.order_by("rank").values_list("ready_at", flat=True)[:1]
        found += [at for at in heads if at is not None]
    return found


def _steps(tenant: Tenant) -> Check:
    """Steps that no live worker can run."""
    rows = StepRun.objects.filter(tenant=tenant, state="ready", parked="no_worker")
    found = list(rows.values_list("queue", "handler_id")[:READ_AT_MOST])
    if not found:
        return Check("steps", State.OK, "Every ready step has a worker that can run it.")
    names = dict(
        Handler.objects.filter(pk__in={handler for _, handler in found}).values_list("pk", "name")
    )
    kinds = sorted({(names.get(handler or 0, "?"), queue) for queue, handler in found})
    said = ", ".join(f"{name} in queue {queue}" for name, queue in kinds[:5])
    many = f"{len(found):,} or more" if len(found) == READ_AT_MOST else f"{len(found):,}"
    mend = "Publish the workflow with a handler and a queue that there are (see Workers), or ask staff for a worker."
    return Check("steps", State.DEGRADED, f"{many} steps wait for a worker: {said}.", mend)


def _hosts(tenant: Tenant) -> Check:
    """Hosts that `core.http` steps wait for."""
    rows = Breaker.objects.filter(tenant=tenant).exclude(state="closed").order_by("host")
    hosts = list(rows.values_list("host", flat=True)[:20])
    if not hosts:
        return Check("hosts", State.OK, "No host is held off.")
    said = f"Steps wait for {', '.join(hosts)}."
    return Check("hosts", State.DEGRADED, said, "See the Pools page: they are tried again by themselves.")  # fmt: skip


def _limits(tenant: Tenant) -> Check:
    """Limits that are used up."""
    full = [
        row.limit.title
        for row in limits_in_use(tenant=tenant)
        if row.is_used_up and row.name not in ("max_steps", "max_connections")
    ]
    if not full:
        return Check("limits", State.OK, "None is used up.")
    said = f"Used up: {', '.join(full)}. What needs more is refused."
    return Check("limits", State.DEGRADED, said, "See Usage; staff raise limits.")
