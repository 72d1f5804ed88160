"""`manage.py install`: brings a database up to date, and a new one to life."""

from __future__ import annotations

from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand

from orchestrator.services.demo import install_demo
from orchestrator.store import alone


class Command(BaseCommand):
    """What `up` runs before web, worker and clock.  Does nothing where all is done already."""

    help = "Migrate the database; on a new one make the demo tenant, its login, API key and sample workflows."

    def handle(self, *args: Any, **options: Any) -> None:
        """Migrate, then install the demo; of several that start on one database, one at a time."""
        with alone("install"):
            call_command("migrate", interactive=False, verbosity=0)
            made = install_demo()
        if made is not None:
            self.stdout.write("made the tenant demo with its sample workflows")
