"""`manage.py apikey_create TENANT`: a new API key, printed alone on standard output."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from tenants import services
from tenants.actors import COMMAND
from tenants.errors import TenantsError
from tenants.models import Tenant


class Command(BaseCommand):
    """Make a key of a tenant; it is shown this once."""

    help = "Make an API key; it is shown this once."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("tenant")
        parser.add_argument("--name", default="", help="for people")
        parser.add_argument(
            "--scope", action="append", metavar="SCOPE", help="repeat it for several; default: all"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        tenant = Tenant.objects.filter(slug=options["tenant"]).first()
        if tenant is None:
            raise CommandError(f"There is no tenant {options['tenant']}.")
        try:
            _, raw = services.create_api_key(
                tenant=tenant, name=options["name"], scopes=options["scope"], actor=COMMAND
            )
        except TenantsError as error:
            raise CommandError(error.message) from None
        self.stdout.write(raw)
