"""What steps cost, by handler: the charge of fair queuing before the true cost is known."""

from __future__ import annotations

from orchestrator.executor.plans import StepPlan
from orchestrator.store.work import Claimed

FIRST_GUESS_S = 0.01
WEIGHT = 0.1
"""Share of the newest observation in the moving mean."""


class Costs:
    """Moving means of handlers' seconds, parallel to the child's handler ids."""

    def __init__(self) -> None:
        self._places: dict[str, int] = {}
        self.means: list[float] = []

    def reset(self, names: list[str]) -> None:
        """Begin with these handlers."""
        self._places = {name: place for place, name in enumerate(names)}
        self.means = [FIRST_GUESS_S] * len(names)

    def observe(self, claimed: Claimed, plan: StepPlan, seconds: float) -> None:
        """One attempt has taken so long."""
        place = self._places.get(plan.step.handler or "")
        if place is not None:
            self.means[place] += WEIGHT * (seconds - self.means[place])
