"""`manage.py clock`: timers, timeouts, wake-ups, dead workers, retention."""

from __future__ import annotations

import signal
from typing import Any

from django.core.management.base import BaseCommand

from orchestrator.clock import Clock, lanes
from orchestrator.conf import conf


class Command(BaseCommand):
    """Runs until SIGTERM or SIGINT; any number may run at once."""

    help = "Run the clock: timers, timeouts, wake-ups, dead workers, retention."

    def handle(self, *args: Any, **options: Any) -> None:
        """Do the clock's duties until a signal comes."""
        clock = Clock(lanes(conf()))
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: clock.stop())
        clock.run()
