"""Canary runs: the clock sends one of its own now and then, through the whole engine, and judges it.

They are runs of a tenant of the server's own, which no list of tenants, metric or share shows."""

from __future__ import annotations

import logging
import time
from typing import Any

import psycopg
from django.db import transaction
from uuid_utils.compat import uuid7

from orchestrator import dispatch
from orchestrator.conf import Conf
from orchestrator.domain import jsonvalue
from orchestrator.models import WorkflowVersion
from orchestrator.services.workflows import publish_workflow
from orchestrator.store import Connection, closing, health
from orchestrator.store.connect import for_a_moment
from orchestrator.store.health import Awaited, Outcome
from orchestrator.store.submit import NewRun, submit
from tenants.actors import SYSTEM
from tenants.models import Tenant
from tenants.services import create_tenant, set_quota

logger = logging.getLogger(__name__)

SLUG = "millrace-canary"
WORKFLOW = "canary"
HANDLER = "core.echo"
DOCUMENT: dict[str, Any] = {
    "name": WORKFLOW,
    "description": "What the server sends itself to see that work is done.",
    "steps": [
        {"name": "there", "handler": HANDLER, "args": {"token": "${{ input.token }}"}},
        {"name": "back", "handler": HANDLER, "args": {"token": "${{ steps.there.output.token }}"}},
    ],
    "output": "${{ steps.back.output.token }}",
    "timeout": "10m",
}
CONNECTIONS = 2
FIRST_AFTER_S = 5.0
"""On a new database the workers come first."""
DAYS = 1
"""How long its runs are kept."""


class Canary:
    """Sends a run when it is time to, and judges it; a duty of the clock that rests in between."""

    def __init__(self, conf: Conf) -> None:
        self._conf = conf
        self._home: tuple[int, int] | None = None
        self._next: float | None = None
        self._awaited: Awaited | None = None

    def __call__(self, connection: Connection) -> int:
        """One look; answers how many were judged."""
        if not self._conf.canary_every_s:
            return 0
        now = time.monotonic()
        if self._next is None:
            self._begin(connection, now)
        if self._awaited is not None:
            self._awaited = health.awaited(connection)
            return 0 if self._awaited is None else self._judge(connection, self._awaited)
        assert self._next is not None
        if now < self._next:
            return 0
        self._next = now + self._conf.canary_every_s
        try:
            self._send(connection)
        except psycopg.OperationalError:
            raise
        except Exception as error:  # whatever hinders it is what the canary is to find
            logger.exception("no canary could be sent")
            health.send(connection, uuid7())
            self._home, awaited = None, health.awaited(connection)
            assert awaited is not None
            detail = f"It could not be sent: {type(error).__name__}: {error}"
            health.end(connection, awaited.id, outcome="failed", seconds=None, detail=detail)
            return 1
        return 0

    def _begin(self, connection: Connection, now: float) -> None:
        """Another clock may have sent the last one."""
        age = health.canary_age(connection)
        wait_s = FIRST_AFTER_S if age is None else self._conf.canary_every_s - age
        self._next = now + max(0.0, min(wait_s, self._conf.canary_every_s))
        self._awaited = health.awaited(connection)

    def _send(self, connection: Connection) -> None:
        tenant_id, version_id = self._home or self._settle()
        run_id = uuid7()
        given = jsonvalue.encode({"token": str(run_id)})
        with connection.transaction():
            made = submit(
                connection,
                tenant_id=tenant_id,
                runs=[NewRun(id=run_id, version_id=version_id, input=given)],
                actor=str(SYSTEM),
            )
            health.send(connection, run_id)
        dispatch.wake(made.wake)
        self._awaited = health.awaited(connection)

    def _judge(self, connection: Connection, awaited: Awaited) -> int:
        tenant_id, _ = self._home or self._settle()
        seen = health.outcome(connection, tenant_id=tenant_id, run_id=awaited.run_id)
        said = self._verdict(connection, awaited, seen)
        if said is None:
            return 0
        outcome, detail = said
        if seen is None:
            self._home = None  # its tenant may be gone too
        elif seen.seconds is None:
            closing.close_runs(
                connection, tenant_id=tenant_id, run_ids=[awaited.run_id], kind="cancel", actor=str(SYSTEM)
            )  # fmt: skip
        seconds = None if seen is None else seen.seconds
        health.end(connection, awaited.id, outcome=outcome, seconds=seconds, detail=detail)
        self._awaited = None
        return 1

    def _verdict(
        self, connection: Connection, awaited: Awaited, seen: Outcome | None
    ) -> tuple[str, str] | None:
        """What became of it, and why; None: it is too early to say."""
        if seen is None:
            return "failed", "Its run is gone."
        if seen.seconds is None:
            late = awaited.age_s > self._conf.canary_late_s
            return ("late", self._why(connection, seen)) if late else None
        token = jsonvalue.encode(str(awaited.run_id))
        if seen.state != "succeeded" or seen.output != token:
            return "failed", _failure(seen)
        if seen.seconds > self._conf.canary_late_s:
            return "late", f"It took {seen.seconds:.1f} s."
        return "ok", ""

    def _why(self, connection: Connection, seen: Outcome) -> str:
        """Why it has not ended, as far as can be seen."""
        able, in_use, limit = health.servers(
            connection, handler=HANDLER, lease_s=self._conf.lease_s
        )
        begun = f"It had not ended after {self._conf.canary_late_s:.0f} s"
        if not able:
            return f"{begun}: no live worker serves the queue io."
        if in_use >= limit:
            return f"{begun}: all {limit} connections of the server were in use."
        if not seen.started:
            return f"{begun}: {able} workers could have started it, and none did."
        return f"{begun}: it was started."

    def _settle(self) -> tuple[int, int]:
        """The tenant and the version, made where they are missing.

        Raises AlreadyThere where somebody has a tenant of the canary's name."""
        with for_a_moment():
            tenant = Tenant.objects.filter(is_system=True).first() or _make_tenant()
            made = publish_workflow(tenant=tenant, name=None, document=DOCUMENT, actor=SYSTEM)
            version = WorkflowVersion.objects.get(
                tenant=tenant, workflow__name=WORKFLOW, version=made.version
            )
        self._home = (tenant.pk, version.pk)
        return self._home


@transaction.atomic
def _make_tenant() -> Tenant:
    tenant = create_tenant(
        slug=SLUG, name="The server's own", max_connections=CONNECTIONS, actor=SYSTEM
    )
    set_quota(tenant=tenant, actor=SYSTEM, retention_days=DAYS)
    Tenant.objects.filter(pk=tenant.pk).update(is_system=True)
    return tenant


def _failure(seen: Outcome) -> str:
    if seen.state == "succeeded":
        return f"Its run answered {(seen.output or '')[:80]} and not what it was sent."
    return f"Its run {seen.state}: {(seen.error or '')[:300]}"
