"""Who does something: a person, an API key, a command, or the server itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Actor:
    """`name` is a user's name, a key's prefix or a trigger's name, empty for commands and the system; `origin` is
    where the request came from (an address), for the audit log.

    As text: `user:admin`, `key:mr_ab12cd34`, `command`, `system`."""

    kind: Literal["user", "key", "trigger", "command", "system"]
    name: str = ""
    origin: str = ""

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}" if self.name else self.kind


COMMAND = Actor(kind="command")
SYSTEM = Actor(kind="system")
