"""What is wrong with the running system, and what to do about it: for `manage.py doctor`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

import redis
from django.core.management import call_command
from django.db.models import Count, F, Min, OuterRef
from django.db.utils import Error as DatabaseError
from django.utils import timezone
from kombu.connection import Connection as Broker
from kombu.exceptions import KombuError

from orchestrator.conf import conf
from orchestrator.embedded import paths
from orchestrator.models import StepRun, TenantLoad, Worker
from orchestrator.models.workers import Duty
from orchestrator.selectors.load import server_use
from orchestrator.store import connection
from tenants.models import Quota

State = Literal["ok", "warning", "wrong"]
ANSWER_WITHIN_S = 3.0
QUIET_CLOCK_S = 10.0
"""A duty writes down every 2 s, or at its own interval, that it was done."""
UNCLAIMED_S = 10.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at: `message` says how it is, `mend` what to do unless it is ok."""

    name: str
    state: State
    message: str
    mend: str = ""


def diagnose() -> list[Finding]:
    """Look at everything, the most fundamental first; what needs the database only where it answers."""
    findings = [_database()]
    if findings[0].state == "wrong":
        return [*findings, _broker(), _channel_layer()]
    migrations = _migrations()
    findings += [migrations, _broker(), _channel_layer()]
    if migrations.state == "ok":
        findings += [_clock(), _workers(), _unclaimed(), _unserved()]
    return findings


def _database() -> Finding:
    try:
        version = connection().info.server_version // 10_000
    except DatabaseError as error:
        return Finding(
            "database", "wrong", str(error).strip().splitlines()[0], paths.unreachable_database()
        )
    if version < 15:
        return Finding(
            "database", "wrong", f"it is PostgreSQL {version}", "Use PostgreSQL 15 or newer."
        )
    return Finding("database", "ok", f"PostgreSQL {version} answers")


def _migrations() -> Finding:
    try:
        call_command("migrate", check_unapplied=True, verbosity=0)
    except SystemExit:
        return Finding(
            "migrations", "wrong", "some are not applied", "Run `manage.py migrate`, or `make up`."
        )
    return Finding("migrations", "ok", "all are applied")


def _broker() -> Finding:
    mend = (
        "Start the system with `make up`."
        if paths.uses_embedded_broker()
        else "Start the broker that BROKER_URL names, or correct BROKER_URL."
    )
    return _answers(
        "broker",
        _connect_broker,
        wrong="warning",
        mend=f"{mend} Until then work is found by asking the database once a second.",
    )


def _channel_layer() -> Finding:
    url = paths.channels_url()
    if url is None:
        return Finding(
            "channel layer",
            "warning",
            "there is none, so pages do not update by themselves",
            "Set CHANNELS_URL to a Redis.",
        )
    return _answers(
        "channel layer",
        lambda: _ping(url),
        wrong="warning",
        mend="Start it, or correct CHANNELS_URL: until then pages poll.",
    )


def _clock() -> Finding:
    duties = list(Duty.objects.order_by("name"))
    if not duties:
        return Finding("clock", "wrong", "it was never seen", "Start `manage.py clock`.")
    now = timezone.now()
    late = [
        duty.name
        for duty in duties
        if duty.ticked_at is None
        or now - duty.ticked_at > timedelta(seconds=QUIET_CLOCK_S + 2 * duty.interval_ms / 1000)
    ]
    if late:
        return Finding(
            "clock",
            "wrong",
            f"not done any more: {', '.join(late)}",
            "Start `manage.py clock`, or read its log for what stops these duties.",
        )
    failing = [f"{duty.name} ({duty.error})" for duty in duties if duty.error]
    if failing:
        return Finding(
            "clock", "warning", f"failing: {', '.join(failing)}", "Read the clock's log."
        )
    return Finding("clock", "ok", f"{len(duties)} duties are done in time")


def _workers() -> Finding:
    seen_after = timezone.now() - timedelta(seconds=conf().lease_s)
    workers = list(Worker.objects.filter(state="active", seen_at__gte=seen_after))
    if not workers:
        return Finding(
            "workers",
            "wrong",
            "none is alive",
            "Start one: `celery -A orchestrator worker -Q io,cpu`, or the whole system by `make up`.",
        )
    queues = sorted({queue for worker in workers for queue in worker.queues})
    return Finding("workers", "ok", f"{len(workers)} processes serve {', '.join(queues)}")


def _unclaimed() -> Finding:
    """Work that every limit allows and nobody takes."""
    full = set(
        TenantLoad.objects.filter(
            in_use__gte=Quota.objects.filter(tenant_id=OuterRef("tenant_id")).values(
                "max_connections"
            )[:1]
        ).values_list("tenant_id", flat=True)
    )
    use = server_use()
    oldest = (
        StepRun.objects.filter(state="ready", parked__isnull=True, pool="")
        .exclude(tenant_id__in=full)
        .aggregate(at=Min("ready_at"))["at"]
    )
    waited_s = (timezone.now() - oldest).total_seconds() if oldest else 0.0
    if waited_s > UNCLAIMED_S and use.in_use < use.max_connections:
        return Finding(
            "ready work",
            "wrong",
            f"a step that may run has waited for {waited_s:.0f} s",
            "See that workers of its queue run and are not stuck: read their log, restart them.",
        )
    return Finding("ready work", "ok", "none is left lying")


def _unserved() -> Finding:
    rows = (
        StepRun.objects.filter(state="ready", parked="no_worker")
        .values(name=F("queue"))
        .annotate(steps=Count("*"))
        .order_by("name")
    )
    waiting = [f"{row['steps']} in queue {row['name']}" for row in rows]
    if waiting:
        return Finding(
            "handlers",
            "warning",
            f"steps that no live worker can run: {', '.join(waiting)}",
            "Start a worker with that queue (-Q) and with ORCHESTRATOR_HANDLERS naming the modules.",
        )
    return Finding("handlers", "ok", "every ready step has a worker that can run it")


def _answers(name: str, ask: Callable[[], object], *, wrong: State, mend: str) -> Finding:
    try:
        ask()
    except (OSError, KombuError, redis.RedisError) as error:
        message = str(error).strip() or type(error).__name__
        return Finding(name, wrong, f"it does not answer ({message})", mend)
    return Finding(name, "ok", "it answers")


def _connect_broker() -> None:
    with Broker(paths.broker_url(), connect_timeout=ANSWER_WITHIN_S) as broker:
        broker.ensure_connection(max_retries=1, interval_start=0.1, timeout=ANSWER_WITHIN_S)


def _ping(url: str) -> None:
    options = {"socket_timeout": ANSWER_WITHIN_S, "socket_connect_timeout": ANSWER_WITHIN_S}
    client = redis.Redis.from_url(url, **options)
    try:
        client.ping()
    finally:
        client.close()
