"""`manage.py tenant_create SLUG`: a new tenant."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from tenants import services
from tenants.actors import COMMAND
from tenants.errors import TenantsError


class Command(BaseCommand):
    """Make a tenant."""

    help = "Make a tenant."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("slug", help="small letters, digits and hyphens, a letter first")
        parser.add_argument("--name", default="", help="for people")
        parser.add_argument("--max-connections", type=int, default=10, metavar="N")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            tenant = services.create_tenant(
                slug=options["slug"],
                name=options["name"],
                max_connections=options["max_connections"],
                actor=COMMAND,
            )
        except TenantsError as error:
            raise CommandError(error.message) from None
        self.stdout.write(tenant.slug)
