"""`manage.py tenant_delete SLUG`: archive a tenant, and delete it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from orchestrator.domain.errors import MillraceError
from orchestrator.embedded import paths
from orchestrator.services.deletion import delete_tenant
from tenants.actors import COMMAND
from tenants.errors import TenantsError
from tenants.models import Tenant


class Command(BaseCommand):
    """Prints the archive, from which `tenant_restore` brings the tenant back."""

    help = "Archive a suspended tenant, then delete its rows, its schema and its role; print the archive."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("slug")
        parser.add_argument(
            "--archive", type=Path, metavar="FOLDER", help="default: archives in the data folder"
        )
        parser.add_argument("--yes", action="store_true", help="do it")

    def handle(self, *args: Any, **options: Any) -> None:
        slug = options["slug"]
        tenant = Tenant.objects.filter(slug=slug).first()
        if tenant is None:
            raise CommandError(f"There is no tenant {slug}.")
        if not options["yes"]:
            raise CommandError(
                f"This deletes all that {slug} has, after archiving it: say --yes to do it."
            )
        folder = options["archive"] or paths.data_dir() / "archives"
        try:
            file = delete_tenant(tenant=tenant, folder=folder, actor=COMMAND)
        except (MillraceError, TenantsError) as error:
            raise CommandError(error.message) from None
        self.stdout.write(str(file))
