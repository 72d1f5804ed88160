"""A step of the model: what it may become, and by which rule."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(eq=False)
class Call:
    """A compensation or an undo of a step."""

    kind: str
    state: str = "ready"
    attempts: int = 0
    losses: int = 0
    suspect: bool = False
    begun: bool = False
    """Whether it was ever called."""


@dataclass(eq=False)
class Step:
    """A step of a run, with what is to become of it."""

    name: str
    number: int
    parents: list[Step]
    rule: str = "all_success"
    condition: bool = True
    on_error: int | None = None
    max_attempts: int = 1

    children: list[Step] = field(default_factory=list)
    state: str = "blocked"
    by_rule: bool = False
    """Skipped since its rule could not hold: it was never tried."""
    told: bool = False
    """Whether its children know of its end."""
    attempts: int = 0
    losses: int = 0
    handled: bool = False
    suspect: bool = False
    output: int | None = None
    seen: list[int | None] = field(default_factory=list)
    """Its parents' outputs, as its present attempt has them."""
    kept: list[int | None] | None = None
    """The same, once an attempt was put off: later ones have what the first one had."""

    compensates: bool = False
    undo_attempts: int = 0
    """How often its undo may be tried; 0: it has none."""
    code: str | None = None
    """Of its last error."""
    started: bool = False
    extra: int = 0
    """Attempts that its compensation granted."""
    declined: bool = False
    """Whether its compensation has given it up."""
    compensation: Call | None = None
    undoing: Call | None = None

    def undoable(self) -> bool:
        """It succeeded, or nobody knows how far it came."""
        if self.handled or not self.undo_attempts:
            return False
        if self.state == "cancelled":
            return self.started and (self.suspect or self.code != "error")
        return self.state == "succeeded" or (self.state == "failed" and self.code == "lost")

    def after(self) -> set[Step]:
        """All that comes after it."""
        return {s for child in self.children for s in (child, *child.after())}

    def verdict(self) -> str:
        """wait, ready or skipped, by what its parents have come to."""
        ends = [parent.state for parent in self.parents if parent.told]
        if not self.parents:
            return "ready"
        early = {"one_success": "succeeded", "one_failed": "failed"}.get(self.rule)
        if early in ends:
            return "ready"
        if len(ends) < len(self.parents):
            return "wait"
        holds = {
            "all_success": all(end == "succeeded" for end in ends),
            "all_failed": all(end == "failed" for end in ends),
            "none_failed": all(end in ("succeeded", "skipped") for end in ends),
            "all_done": True,
            "always": True,
        }.get(self.rule, False)
        return "ready" if holds else "skipped"

    def value(self) -> int:
        """What its handler makes of its parents' outputs."""
        return self.number + 1 + sum(output or 0 for output in self.seen)
