"""`manage.py tenant_repair [SLUG]`: make missing roles and schemas."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from tenants import services
from tenants.errors import TenantsError


class Command(BaseCommand):
    """Prints the tenants that were mended."""

    help = "Make tenants' roles and schemas that are missing, and set their limits; print whose."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "slug", nargs="?", help="this tenant alone, its password too, whatever it looks like"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            mended = services.repair_databases(slug=options["slug"])
        except TenantsError as error:
            raise CommandError(error.message) from None
        if options["slug"] and not mended:
            raise CommandError(f"There is no tenant {options['slug']}.")
        for slug in mended:
            self.stdout.write(slug)
