"""`manage.py doctor`: what is wrong, and what to do."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from orchestrator.selectors.diagnosis import diagnose

_MARKS = {"ok": "ok     ", "warning": "warning", "wrong": "WRONG  "}


class Command(BaseCommand):
    """Exit code 1 where something is wrong; a warning alone leaves it 0."""

    help = "Look at the database, broker, channel layer, clock, workers and waiting work; say what to mend."
    requires_system_checks: list[str] = []

    def handle(self, *args: Any, **options: Any) -> None:
        """Print one line for each thing looked at, and the mend below what is not ok."""
        findings = diagnose()
        for finding in findings:
            self.stdout.write(f"{_MARKS[finding.state]}  {finding.name}: {finding.message}")
            if finding.mend and finding.state != "ok":
                self.stdout.write(f"           → {finding.mend}")
        if any(finding.state == "wrong" for finding in findings):
            raise SystemExit(1)
