"""`manage.py tenant_database SLUG`: where a tenant's steps find its database."""

from __future__ import annotations

import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from orchestrator.conf import conf
from orchestrator.services.sessions import rules
from tenants import services
from tenants.actors import COMMAND
from tenants.errors import TenantsError
from tenants.models import Tenant


class Command(BaseCommand):
    """Prints which database is used, without its password."""

    help = "Let a tenant's steps use a database elsewhere, or its own schema again; print which they use."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("slug")
        choice = parser.add_mutually_exclusive_group()
        choice.add_argument(
            "--external-stdin", action="store_true", help="read its address from standard input"
        )
        choice.add_argument("--own", action="store_true", help="its own schema, here")

    def handle(self, *args: Any, **options: Any) -> None:
        tenant = Tenant.objects.filter(slug=options["slug"]).first()
        if tenant is None:
            raise CommandError(f"There is no tenant {options['slug']}.")
        try:
            if options["external_stdin"]:
                services.set_external_database(
                    tenant=tenant,
                    address=sys.stdin.read().strip(),
                    rules=rules(conf()),
                    actor=COMMAND,
                )
            elif options["own"]:
                services.clear_external_database(tenant=tenant, actor=COMMAND)
        except TenantsError as error:
            raise CommandError(error.message) from None
        tenant.database.refresh_from_db()
        self.stdout.write(tenant.database.external_name or f"tenant_{tenant.pk}")
