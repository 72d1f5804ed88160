"""`manage.py run_start NAME --tenant T --input JSON [--wait]`: submit a run."""

from __future__ import annotations

import sys
import time
from argparse import ArgumentParser
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError

from orchestrator.domain import jsonvalue
from orchestrator.domain.errors import Invalid, MillraceError
from orchestrator.domain.statuses import TERMINAL_RUN
from orchestrator.selectors.payloads import render
from orchestrator.selectors.runs import finished_among, run_view
from orchestrator.services.runs import submit_run
from tenants.actors import COMMAND
from tenants.models import Tenant

POLL_S = 0.05


class Command(BaseCommand):
    """Submits a run and prints it as JSON; with --wait, when it has ended."""

    help = "Submit a run and print it as JSON; with --wait, exit 0 only when it succeeded."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", help="the workflow's name")
        parser.add_argument("--tenant", required=True, help="the tenant's slug")
        parser.add_argument("--input", default="{}", help="the input, as JSON")
        parser.add_argument("--wait", action="store_true", help="wait for the run's end")

    def handle(self, *args: Any, **options: Any) -> None:
        tenant = Tenant.objects.filter(slug=options["tenant"]).first()
        if tenant is None:
            raise CommandError(f"There is no tenant {options['tenant']}.")
        try:
            given = jsonvalue.decode(options["input"])
        except jsonvalue.BadJson as error:
            raise CommandError(f"--input is not JSON: {error}") from None
        run_id = self._submit(tenant, options["name"], given)
        if options["wait"]:
            while not finished_among([run_id]):
                time.sleep(POLL_S)
        run = run_view(tenant=tenant, run_id=run_id)
        self.stdout.write(render(run))
        if options["wait"] and run["state"] != "succeeded":
            assert run["state"] in TERMINAL_RUN
            sys.exit(1)

    def _submit(self, tenant: Tenant, workflow: str, given: object) -> UUID:
        try:
            made = submit_run(
                tenant=tenant, workflow=workflow, body={"input": given}, actor=COMMAND
            )
        except Invalid as error:
            for problem in error.problems:
                self.stderr.write(f"{problem.path or '/'}: {problem.message}")
            sys.exit(1)
        except MillraceError as error:
            raise CommandError(error.message) from None
        return made.run_id
