"""`manage.py quota_set TENANT NAME=VALUE …`: limits of a tenant, for good or until a time."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from orchestrator.services import limits
from tenants.actors import COMMAND
from tenants.errors import TenantsError
from tenants.limits import BY_NAME
from tenants.models import Tenant

NO_LIMIT = ("none", "")


class Command(BaseCommand):
    """Set limits of a tenant."""

    help = "Set limits of a tenant; they act on running workers within a second."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("tenant")
        parser.add_argument(
            "limits",
            nargs="+",
            metavar="NAME=VALUE",
            help=f"of {', '.join(BY_NAME)}; none: no limit",
        )
        parser.add_argument(
            "--until", default="", help="2h, or a time (RFC 3339); for good unless given"
        )
        parser.add_argument("--reason", default="")

    def handle(self, *args: Any, **options: Any) -> None:
        tenant = Tenant.objects.filter(slug=options["tenant"]).first()
        if tenant is None:
            raise CommandError(f"There is no tenant {options['tenant']}.")
        changes = dict(_read(text) for text in options["limits"])
        try:
            limits.change_quota(
                tenant=tenant,
                actor=COMMAND,
                reason=options["reason"],
                until=limits.read_until(options["until"]),
                **changes,  # type: ignore[arg-type]
            )
        except TenantsError as error:
            raise CommandError(error.message) from None
        for name, value in changes.items():
            self.stdout.write(f"{name}: {'no limit' if value is None else value}")


def _read(text: str) -> tuple[str, float | None]:
    name, equals, value = text.partition("=")
    if not equals or name not in BY_NAME:
        raise CommandError(f"{text}: say NAME=VALUE with a name of {', '.join(BY_NAME)}.")
    if value in NO_LIMIT:
        return name, None
    try:
        return name, int(value) if BY_NAME[name].integral else float(value)
    except ValueError:
        raise CommandError(f"{name}: {value!r} is no number.") from None
