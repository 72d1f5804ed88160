"""`manage.py tenant_restore FILE`: bring a deleted tenant back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from orchestrator.domain.errors import MillraceError
from orchestrator.services.deletion import restore_tenant
from tenants.actors import COMMAND
from tenants.errors import TenantsError


class Command(BaseCommand):
    """Prints the tenant's slug."""

    help = "Bring a tenant back from the archive that tenant_delete made; it comes back suspended."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path)

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            tenant = restore_tenant(file=options["file"], actor=COMMAND)
        except (MillraceError, TenantsError) as error:
            raise CommandError(error.message) from None
        self.stdout.write(tenant.slug)
