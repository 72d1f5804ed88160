"""`manage.py secrets_reseal`: after SECRET_KEY was changed, seal everything under the new one."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from orchestrator.services.sealing import reseal_all
from tenants.actors import COMMAND
from tenants.sealing import Unreadable


class Command(BaseCommand):
    """Seals secrets anew, so that the old key may go."""

    help = "Seal every secret under the present SECRET_KEY; the old one stands in SECRET_KEY_FALLBACKS."

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            count = reseal_all(actor=COMMAND)
        except Unreadable:
            raise CommandError(
                "Something was sealed under a key that is not here: add it to SECRET_KEY_FALLBACKS."
                " Nothing was changed."
            ) from None
        self.stdout.write(f"{count} sealed anew; SECRET_KEY_FALLBACKS may go.")
