"""`manage.py up`: the whole system; what `make up` runs."""

from __future__ import annotations

import os
import sys
from typing import Any

from django.core.management.base import BaseCommand

from orchestrator.embedded import paths


class Command(BaseCommand):
    """Becomes the supervisor: the process keeps its id, and Django's memory is given back."""

    help = "Start everything: database and broker unless DATABASE_URL and BROKER_URL name others, web, worker, clock."
    requires_system_checks: list[str] = []

    def handle(self, *args: Any, **options: Any) -> None:
        """Never returns."""
        inherited = os.environ.get("PYTHONPATH")
        search = [str(paths.PROJECT_ROOT), *filter(None, [inherited])]
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(search)}
        os.execve(sys.executable, [sys.executable, "-m", "orchestrator.embedded"], env)
