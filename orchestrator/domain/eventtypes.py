"""The words for what happens: `run.<state>`, `step.<state>`, `step.retrying`, `step.lost`,
`signal.received`, `alert.<state>`, `alert.escalated`."""

import re
from collections.abc import Sequence

from orchestrator.domain.statuses import RunState, StepState

FAMILIES: dict[str, frozenset[str] | None] = {
    "run": frozenset(RunState),
    "step": frozenset({*StepState, "retrying", "lost"}),
    "signal": frozenset({"received"}),
    "alert": None,
}
"""By a type's first part, what may follow it; None: any word."""

_WORD = re.compile(r"[a-z_]{1,30}")


def unknown_type(text: str) -> str | None:
    """What is wrong with a type or a family (`step.*`) that events are narrowed to; None: nothing."""
    family, dot, word = text.partition(".")
    if family not in FAMILIES or not dot:
        return f"{text!r} is no type of event: they begin with {_list([f'{one}.' for one in FAMILIES])}"
    known = FAMILIES[family]
    if word == "*" or (_WORD.fullmatch(word) if known is None else word in known):
        return None
    if known is None:
        return f"{text!r} is no type of event"
    return f"{text!r} is no type of event: after {family}. stands * or {_list(sorted(known))}"


def _list(words: Sequence[str]) -> str:
    return ", ".join(words[:-1]) + (" or " if len(words) > 1 else "") + words[-1]
