"""`manage.py user_create NAME`: a new person."""

from __future__ import annotations

import getpass
import secrets
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from tenants import services
from tenants.actors import COMMAND
from tenants.errors import TenantsError
from tenants.models import Role, Tenant


class Command(BaseCommand):
    """Make a user; without a terminal and --password-stdin, a random password is printed."""

    help = "Make a user, a member of a tenant when one is named."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name")
        parser.add_argument("--tenant", metavar="T", help="the tenant to be a member of")
        parser.add_argument(
            "--role", choices=list(Role.values), help="in that tenant; default viewer"
        )
        parser.add_argument("--staff", action="store_true", help="sees all tenants and sets limits")
        parser.add_argument(
            "--password-stdin", action="store_true", help="read it from standard input"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        tenant = None
        if options["tenant"] is not None:
            tenant = Tenant.objects.filter(slug=options["tenant"]).first()
            if tenant is None:
                raise CommandError(f"There is no tenant {options['tenant']}.")
        password, made = self._password(from_stdin=options["password_stdin"])
        try:
            services.create_user(
                name=options["name"],
                password=password,
                tenant=tenant,
                role=Role(options["role"]) if options["role"] else None,
                staff=options["staff"],
                actor=COMMAND,
            )
        except TenantsError as error:
            raise CommandError(error.message) from None
        self.stdout.write(f"{options['name']} {password}" if made else options["name"])

    def _password(self, *, from_stdin: bool) -> tuple[str, bool]:
        """The password, and whether it was made here."""
        if from_stdin:
            return sys.stdin.readline().rstrip("\r\n"), False
        if sys.stdin.isatty():
            password = getpass.getpass("Password (empty: a random one): ")
            if password:
                if getpass.getpass("Again: ") != password:
                    raise CommandError("The two passwords differ.")
                return password, False
        return secrets.token_urlsafe(12), True
