"""Workers: told to take nothing more, and told to take work again."""

from __future__ import annotations

from django.db import transaction
from django.db.models.functions import Now

from orchestrator import dispatch
from orchestrator.models import Worker
from tenants.actors import Actor
from tenants.services import record


@transaction.atomic
def drain_worker(*, worker_id: int, actor: Actor) -> bool:
    """Let a worker claim nothing more: what runs in it gets the grace period, the rest goes back and
    runs elsewhere.  It stays there, idle, until it is stopped or told to go on.

    Within five seconds.  False where it is gone, or was told before."""
    found = Worker.objects.filter(pk=worker_id, drain_at__isnull=True).exclude(state="gone")
    return _tell(found, "worker.drained", actor, drain_at=Now(), state="draining")


@transaction.atomic
def resume_worker(*, worker_id: int, actor: Actor) -> bool:
    """Let a drained worker take work again.  False where it is gone, or was not drained."""
    found = Worker.objects.filter(pk=worker_id, drain_at__isnull=False).exclude(state="gone")
    return _tell(found, "worker.resumed", actor, drain_at=None)


def _tell(found: object, action: str, actor: Actor, **values: object) -> bool:
    row = found.select_for_update().first()  # type: ignore[attr-defined]
    if row is None:
        return False
    Worker.objects.filter(pk=row.pk).update(**values)
    record(tenant=None, actor=actor, action=action, target=row.name, after={"queues": row.queues})
    if action == "worker.resumed":
        transaction.on_commit(lambda: dispatch.wake(row.queues))
    return True
