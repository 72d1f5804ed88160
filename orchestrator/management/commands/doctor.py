"""`manage.py doctor`: what is wrong, and what to do."""

from __future__ import annotations

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from orchestrator.domain.health import Check, State, overall
from orchestrator.selectors.diagnosis import diagnose
from orchestrator.services import fixing
from tenants.actors import COMMAND

_MARKS = {State.OK: "ok      ", State.DEGRADED: "degraded", State.DOWN: "DOWN    "}


class Command(BaseCommand):
    """Exit code 1 where anything is degraded or down."""

    help = "Look at every part of the server and deep into its database; say what is wrong and what to do."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="print JSON")
        parser.add_argument(
            "--fix", action="store_true", help="mend what is safe to mend beside a running system"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Print what was found, what was done, and what to do about the rest."""
        found = diagnose()
        done: list[str] = []
        if options["fix"] and overall(found) is not State.OK:
            done = fixing.fix(found=found, actor=COMMAND)
            found = diagnose() if done else found
        if options["json"]:
            self.stdout.write(json.dumps(_document(found, done), indent=2))
        else:
            self._print(found, done)
        if overall(found) is not State.OK:
            raise SystemExit(1)

    def _print(self, found: list[Check], done: list[str]) -> None:
        for words in done:
            self.stdout.write(f"fixed     {words}")
        for check in found:
            name = check.name.replace("_", " ")
            self.stdout.write(f"{_MARKS[check.state]}  {name}: {check.detail}")
            if check.mend:
                self.stdout.write(f"          → {check.mend}")


def _document(found: list[Check], done: list[str]) -> dict[str, object]:
    return {
        "state": overall(found),
        "fixed": done,
        "findings": [
            {"name": one.name, "state": one.state, "detail": one.detail, "mend": one.mend or None}
            for one in found
        ],
    }
