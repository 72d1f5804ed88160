"""`manage.py load`: put load on a running system and say what its clients saw."""

from __future__ import annotations

import http.client
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from orchestrator.domain import jsonvalue
from orchestrator.embedded import paths
from orchestrator.management import load
from orchestrator.management.load import Client, Driven, Outcomes, Plan, Refused, Target, quantile
from tenants import services
from tenants.actors import COMMAND
from tenants.models import Tenant

SCOPES = ["runs:read", "runs:write", "workflows:write"]


def _positive(text: str) -> float:
    """A number above 0; a rate may end in `/s`."""
    try:
        value = float(text.removesuffix("/s"))
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise ArgumentTypeError(f"{text} is not a number above 0")
    return value


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"{text} is not a whole number above 0")
    return int(text)


class Command(BaseCommand):
    """Exit code 1 where a submission was refused, or a run did not succeed in time."""

    help = (
        "Submit runs over HTTP for some seconds; print accepted/s, latencies, errors and outcomes."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--tenant", help="the tenant's slug (not needed with --key)")
        parser.add_argument("--workflow", help="default: one with one step that does nothing")
        much = parser.add_mutually_exclusive_group()
        much.add_argument("--rate", type=_positive, metavar="R", help="runs per second, open loop")
        much.add_argument("--runs", type=_count, metavar="N", help="stop after so many runs")
        parser.add_argument("--seconds", type=_positive, default=10.0, help="stop after (10)")
        parser.add_argument("--clients", type=_count, default=8, help="connections (8)")
        parser.add_argument("--input", default="{}", help="each run's input, as JSON")
        parser.add_argument("--wait", type=float, default=60.0, help="seconds for runs to end (60)")
        parser.add_argument("--url", help="default: where the running system is")
        parser.add_argument("--key", help="an API key (default: one for the time of the call)")

    def handle(self, *args: Any, **options: Any) -> None:
        """Submit, wait for the ends, print."""
        url = (options["url"] or paths.web_url()).rstrip("/")
        try:
            given = jsonvalue.decode(options["input"])
        except jsonvalue.BadJson as error:
            raise CommandError(f"--input is not JSON: {error}") from None
        plan = Plan(
            workflow=options["workflow"] or load.WORKFLOW,
            body=b'{"input":%s}' % jsonvalue.encode(given).encode(),
            clients=options["clients"],
            seconds=options["seconds"],
            rate=options["rate"],
            runs=options["runs"],
        )
        with _key(options["tenant"], options["key"]) as key:
            target = Target(url, key)
            self._prepare(target, publish=options["workflow"] is None)
            driven = load.drive(target, plan)
            self._print_driven(plan, driven)
            with _answers(target):
                outcomes = load.follow(target, plan, driven, within_s=options["wait"])
        self._print_outcomes(outcomes)
        if driven.errors or outcomes.states["succeeded"] < len(driven.accepted):
            raise SystemExit(1)

    def _prepare(self, target: Target, *, publish: bool) -> None:
        """Publish the workflow if it is ours, and see that the system answers."""
        with _answers(target), closing(Client(target)) as client:
            if publish:
                client.json("PUT", f"/workflows/{load.WORKFLOW}", load.DEFINITION)
            else:
                client.json("GET", "/runs?limit=1")

    def _print_driven(self, plan: Plan, driven: Driven) -> None:
        loop = f"open loop at {plan.rate:g}/s" if plan.rate else "closed loop"
        count = len(driven.accepted)
        self.stdout.write(
            f"{plan.workflow}: {loop}, {plan.clients} clients, {driven.seconds:.1f} s"
        )
        self.stdout.write(f"accepted       {count:,} runs, {driven.accepted_per_s:,.1f}/s")
        self.stdout.write(f"latency        {_spread(driven.latencies_s)}")
        told = ", ".join(f"{code} {n:,}" for code, n in driven.errors.most_common())
        self.stdout.write(f"errors         {told or 'none'}")
        if driven.first_refusal:
            self.stdout.write(f"               {driven.first_refusal}")

    def _print_outcomes(self, outcomes: Outcomes) -> None:
        states = ", ".join(f"{state} {n:,}" for state, n in outcomes.states.most_common())
        self.stdout.write(f"runs           {states or 'none'}")
        self.stdout.write(f"queue latency  {_spread(outcomes.queue_s)}")
        self.stdout.write(f"run            {_spread(outcomes.total_s)}")


@contextmanager
def _answers(target: Target) -> Iterator[None]:
    """What keeps the system from answering, as one sentence."""
    try:
        yield
    except (ValueError, Refused) as error:
        raise CommandError(f"{str(error).rstrip('.')}.") from None
    except (OSError, http.client.HTTPException):
        raise CommandError(
            f"Nothing answers at {target.url}: start it with `make up`, or say where with --url."
        ) from None


@contextmanager
def _key(slug: str | None, given: str | None) -> Iterator[str]:
    """The key that was given, else one of the tenant that is revoked at the end."""
    if given is not None:
        yield given
        return
    if slug is None:
        raise CommandError("Say which tenant: --tenant, or --key.")
    tenant = Tenant.objects.filter(slug=slug).first()
    if tenant is None:
        raise CommandError(f"There is no tenant {slug}.")
    made, raw = services.create_api_key(tenant=tenant, name="load", scopes=SCOPES, actor=COMMAND)
    try:
        yield raw
    finally:
        services.revoke_api_key(key=made, actor=COMMAND)


def _spread(seconds: Sequence[float]) -> str:
    """Quantiles of some seconds, as milliseconds."""
    if not seconds:
        return "–"
    named = ((0.5, "p50"), (0.95, "p95"), (0.99, "p99"))
    return "  ".join(f"{name} {quantile(seconds, share) * 1000:,.1f} ms" for share, name in named)
