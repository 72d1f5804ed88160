"""`manage.py user_recover NAME`: let somebody in again who has lost password or phone."""

from __future__ import annotations

from typing import Any

from axes.utils import reset
from django.contrib.auth import get_user_model
from django.contrib.auth.tokens import default_token_generator
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.urls import reverse
from django.utils.encoding import force_bytes
from django.utils.http import urlsafe_base64_encode

from tenants import services
from tenants.actors import COMMAND


class Command(BaseCommand):
    """Print where a new password is set; the second factor goes, and so does a lockout."""

    help = "Print a link that sets a new password; takes the second factor away."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name")
        parser.add_argument(
            "--keep-totp",
            action="store_true",
            help="the second factor stays: only the password is lost",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        user = get_user_model().objects.filter(username=options["name"]).first()
        if user is None:
            raise CommandError(f"There is no user {options['name']}.")
        if not options["keep_totp"]:
            services.remove_totp(user=user, actor=COMMAND)
        reset(username=user.get_username())
        services.record(
            tenant=None, actor=COMMAND, action="user.recovered", target=user.get_username()
        )
        uid = urlsafe_base64_encode(force_bytes(user.pk))
        token = default_token_generator.make_token(user)
        self.stdout.write(reverse("password_reset", kwargs={"uidb64": uid, "token": token}))
        self.stderr.write("Open it below the server's own address, within a day; it works once.")
